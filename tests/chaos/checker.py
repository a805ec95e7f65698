"""The checker: the ledgers and the states against the history of what was sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from models.db import Engine
from tests.chaos import mender
from tests.chaos.found import AwardRow, Found, TickRow
from tests.chaos.history import History, Write
from tests.chaos.scene import DEFINITIONS, MENDED, PRIZES, Side
from tests.chaos.trader import REFUSED
from tests.integration.batches import Key, State, period_of, rows
from tests.oracle import replay

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPARED = ("outcome", "new_count", "previous_count")  # of what a waiting caller was told


@dataclass
class Verdict:
    """What was found wrong, and the two numbers that matter most."""

    lost: int = 0
    doubled: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, side: Side, text: str) -> None:
        """Note what must not be."""
        self.violations.append(f"{side.tenant.slug} {side.tenant.mode}: {text}")


def check_ledgers(verdict: Verdict, side: Side, found: Found, writes: Sequence[Write]) -> None:
    """Every write that was accepted was applied once; nothing else was."""
    mine = [one for one in writes if one.side == side.id]
    _check_ticks(verdict, side, found, [one for one in mine if one.kind == "tick"])
    _check_awards(verdict, side, found, [one for one in mine if one.kind == "award"])
    _check_rejections(verdict, side, found, mine)
    if found.dead_letters:
        verdict.add(side, f"{found.dead_letters} dead letters")


def _check_ticks(verdict: Verdict, side: Side, found: Found, writes: Sequence[Write]) -> None:
    by_token: dict[str | None, list[TickRow]] = defaultdict(list)
    for row in found.ticks:
        by_token[row.token].append(row)
    for write in writes:
        applied = by_token.pop(write.token, [])
        if len(applied) > 1:
            verdict.doubled += 1
            verdict.add(side, f"{write.token} stands {len(applied)} times in the ledger")
        elif applied and write.outcome == "fail":
            verdict.add(side, f"{write.token} was refused ({write.refusal}) and applied")
        elif not applied and write.outcome == "ok" and write.id not in found.rejections:
            verdict.lost += 1
            verdict.add(side, f"{write.token} was accepted as {write.id} and is lost")
        who = found.aliases.get(write.participant, write.participant)
        for text in _differences(write, who, applied[0]) if applied else ():
            verdict.add(side, text)
    for token, never in by_token.items():
        verdict.add(side, f"{len(never)} ticks of {token!r}, which nobody sent")


def _differences(write: Write, who: str, row: TickRow) -> Iterator[str]:
    """Where a row is not what was sent, or not what was answered."""
    sent = (who, write.code, write.timezone)
    if sent != (row.participant, row.code, row.timezone):
        yield f"{write.token} was sent as {sent}, and became {row}"
    if write.occurred_us is not None and write.occurred_us != row.occurred_us:
        yield f"{write.token} was sent with another instant than {row}"
    if write.id is not None and write.id != row.id:
        yield f"{write.token} was accepted as {write.id} and applied as {row.id}"
    for name in COMPARED if write.result else ():
        if write.result and write.result[name] != getattr(row, name):
            yield f"{write.token} was answered {write.result}, and became {row}"


def _check_awards(verdict: Verdict, side: Side, found: Found, writes: Sequence[Write]) -> None:
    by_id: dict[str, list[AwardRow]] = defaultdict(list)
    for row in found.awards:
        by_id[row.id].append(row)
    for write in writes:
        if write.outcome != "ok":
            continue
        applied = by_id.pop(str(write.id), [])
        if not applied and write.id not in found.rejections:
            verdict.lost += 1
            verdict.add(side, f"award {write.token} was accepted as {write.id} and is lost")
        elif len(applied) > 1:
            verdict.doubled += 1
            verdict.add(side, f"award {write.token} stands {len(applied)} times in the ledger")
    rest = Counter((row.participant, row.code) for some in by_id.values() for row in some)
    unsure = Counter((one.participant, one.code) for one in writes if one.outcome == "maybe")
    for key, number in rest.items():
        if key[1] not in PRIZES and number > unsure[key]:
            verdict.add(
                side, f"{number} awards {key} that nobody sent, {unsure[key]} of them maybe"
            )


def _check_rejections(verdict: Verdict, side: Side, found: Found, writes: Sequence[Write]) -> None:
    """Ticks and awards of those who are suspended are rejected, and say so; nobody else's."""
    known = {one.id for one in writes if one.participant == side.suspended}
    for write_id, code in found.rejections.items():
        if code in REFUSED or code in mender.REFUSED:
            continue
        if code != "participant_inactive" or (write_id not in known and known):
            verdict.add(side, f"{write_id} was rejected: {code}")


def check_audit(verdict: Verdict, side: Side, found: Found, history: History) -> None:
    """One line for each change of a definition."""
    sure, unsure = history.changes[side.id, "ok"], history.changes[side.id, "maybe"]
    if not sure <= found.changes <= sure + unsure:
        verdict.add(
            side, f"{found.changes} changes in the audit log, {sure} to {sure + unsure} made"
        )


# -- states ----------------------------------------------------------------------------------


def check_states(verdict: Verdict, engine: Engine, side: Side, found: Found) -> None:
    """The states are what the oracle makes of the ledger, and the counters what it holds."""
    held = rows(engine, side.id)
    ticks: dict[Key, list[TickRow]] = defaultdict(list)
    for row in found.ticks:
        ticks[row.participant, row.code].append(row)
    for key in held.states.keys() | ticks.keys():
        if key[1] == MENDED:  # tests/chaos/mending.py
            continue
        expected = _expected(side, key, ticks[key]) if ticks[key] else None
        if held.states.get(key) != expected:
            verdict.add(side, f"state {key} is {held.states.get(key)}, the oracle says {expected}")
    for key, outcomes in held.outcomes.items():
        changed = outcomes.total() - outcomes["repeated"]
        if key[1] == MENDED:
            continue
        if outcomes["started"] != 1 or changed != len(held.states[key].recorded):
            verdict.add(side, f"the outcomes of {key} are {dict(outcomes)}")
    counted = Counter(row.participant for row in found.ticks)
    for who, number in held.events.items():
        if counted[who] != number:
            verdict.add(side, f"{who!r} has {counted[who]} ticks and a counter of {number}")


def _expected(side: Side, key: Key, ticks: Sequence[TickRow]) -> State:
    who, code = key
    values = DEFINITIONS.get(code, {"period": "daily"})
    own = side.zones.get(who) if values.get("boundary") == "participant" else None
    periods = {period_of(values["period"], one.occurred_us, one.timezone or own) for one in ticks}
    end = replay(periods, values.get("grace_periods", 0), values.get("reset_on_miss", True))
    last = max(ticks, key=lambda one: (one.occurred_us, one.timezone or ""))
    at = _EPOCH + timedelta(microseconds=last.occurred_us)
    return State(frozenset(periods), end.count, end.longest, end.left, at, last.timezone)
