"""How much a drain reads in a round: short ones while fresh writes flow, full ones otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from workers.apply.drain import FLOWING_SECONDS, SHORT_ROUND, Rounds, split
from workers.intake.stream import BACKLOG, FRESH, StreamEntry

BATCH = 1_000


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def entries(*streams: str, fresh: bytes = b"1", backlog: bytes = b"9") -> list[StreamEntry]:
    """An entry of each stream: of one tenant the fresh ones, of another the backlog."""
    return [
        StreamEntry(stream, b"%d-0" % nth, b"", fresh if stream in FRESH else backlog)
        for nth, stream in enumerate(streams)
    ]


def rounds_after(*reads: Sequence[StreamEntry], clock: Clock | None = None) -> Rounds:
    """What a drain knows after some reads."""
    rounds = Rounds(BATCH, clock or Clock())
    for read in reads:
        rounds.see(read)
    return rounds


def test_nothing_seen_is_a_full_batch() -> None:
    rounds = rounds_after()
    assert (rounds.is_backlogged, rounds.fresh) == (False, BATCH)


def test_each_stream_gets_its_share() -> None:
    rounds = rounds_after(entries(FRESH[0], FRESH[0], FRESH[3], BACKLOG[1], BACKLOG[2], BACKLOG[4]))
    assert rounds.fresh == BATCH // 2
    assert rounds.backlog(is_alone=False, is_keeper=False) == BATCH // 3


def test_a_drain_alone_is_short_while_fresh_ones_flow_and_full_again_afterwards() -> None:
    clock = Clock()
    rounds = rounds_after(entries(FRESH[0], BACKLOG[0]), entries(BACKLOG[0]), clock=clock)
    assert rounds.backlog(is_alone=True, is_keeper=False) == SHORT_ROUND
    clock.seconds += FLOWING_SECONDS
    assert rounds.backlog(is_alone=True, is_keeper=False) == BATCH


def test_who_floods_is_not_served_in_short_rounds_for_its_own_sake() -> None:
    rounds = rounds_after(entries(FRESH[0], BACKLOG[0], fresh=b"9"))
    assert rounds.backlog(is_alone=True, is_keeper=False) == BATCH


def test_of_several_the_keeper_is_always_short_and_the_others_never() -> None:
    for read in (entries(BACKLOG[0]), entries(FRESH[0], BACKLOG[0])):
        rounds = rounds_after(read)
        assert rounds.backlog(is_alone=False, is_keeper=True) == SHORT_ROUND
        assert rounds.backlog(is_alone=False, is_keeper=False) == BATCH


def test_a_small_batch_bounds_short_rounds_too() -> None:
    rounds = Rounds(5, Clock())
    rounds.see(entries(FRESH[0], *BACKLOG[:8]))
    assert rounds.backlog(is_alone=True, is_keeper=False) == 1


def test_the_backlog_ends_with_the_first_read_that_finds_none() -> None:
    assert rounds_after(entries(BACKLOG[0])).is_backlogged
    assert not rounds_after(entries(BACKLOG[0]), entries(FRESH[0])).is_backlogged


def test_fresh_ones_are_told_from_the_backlog() -> None:
    mixed = entries(BACKLOG[0], FRESH[0], BACKLOG[1], FRESH[7])
    assert split(mixed) == ([mixed[1], mixed[3]], [mixed[0], mixed[2]])
