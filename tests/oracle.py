"""What a streak must be, said the slow way: replay the whole history period by period.

Nothing here is shared with the engine: the history is a plain set, and each rule of contract §3.2
is one line. Whatever claims to compute streaks is compared with this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Replayed:
    """Where a history ends."""

    last: int | None
    count: int
    longest: int
    left: int


@dataclass(frozen=True)
class Answered:
    """What a tick must be answered."""

    outcome: str
    new_count: int
    longest_count: int
    is_new_record: bool
    previous_count: int
    grace_remaining: int


def replay(recorded: Collection[int], grace: int, reset: bool) -> Replayed:
    """Live through every period from the first recorded one to the last."""
    if not recorded:
        return Replayed(None, 0, 0, grace)
    count, longest, left, missed = 0, 0, grace, 0
    for period in range(min(recorded), max(recorded) + 1):
        if period not in recorded:
            missed += 1
            continue
        if count == 0 or missed <= left:
            count, left = count + 1, left - missed
        else:
            count, left = 1 if reset else count, grace
        missed, longest = 0, max(longest, count)
    return Replayed(max(recorded), count, longest, left)


def answers(ticks: Iterable[int], grace: int, reset: bool) -> Iterator[Answered]:
    """Answer periods in their order of arrival, replaying everything before and after each."""
    recorded: set[int] = set()
    for period in ticks:
        before = replay(recorded, grace, reset)
        is_new = period not in recorded
        recorded.add(period)
        after = replay(recorded, grace, reset)
        yield Answered(
            _outcome(before, after, period, is_new, reset),
            after.count,
            after.longest,
            after.count > before.longest,
            before.count,
            after.left,
        )


def _outcome(before: Replayed, after: Replayed, period: int, is_new: bool, reset: bool) -> str:
    if before.last is None:
        return "started"
    if not is_new:
        return "repeated"
    if period < before.last:
        return "backfilled"
    if after.count == before.count + 1:
        return "extended"
    return "reset" if reset else "held"


def is_alive(recorded: Collection[int], grace: int, reset: bool, current: int) -> bool:
    """Whether a tick in the current period would still carry the streak on."""
    before = replay(recorded, grace, reset)
    if before.last is None or current <= before.last:
        return before.last is not None
    return replay({*recorded, current}, grace, reset).count == before.count + 1
