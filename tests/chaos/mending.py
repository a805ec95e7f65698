"""The checker of what was mended: the ledger of changes, and each streak walked anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
import sqlalchemy as sa

from models.db import Engine, reading
from models.rules.periods import DAILY, key_of
from models.rules.streaks import Forgiveness, Freezes, Protection, Ranges, Rules, add
from models.rules.terms import BEGINNING, Terms
from tests.chaos.checker import Verdict
from tests.chaos.found import Found
from tests.chaos.history import Write
from tests.chaos.scene import BASE, HURT, MENDED, Side
from tests.integration.batches import period_of
from tests.unit.rules.test_forgiveness import Oracle

RULES = Rules(1, True, Forgiveness("weekly", Freezes(1, 5, 3), rest_days=frozenset({6})))
TIMEOUT_SECONDS = 20.0

_WHO = "JOIN participants p ON p.tenant_id = t.tenant_id AND p.id = t.participant_id"
_CHANGES = f"""
SELECT t.id::text, p.external_id, t.kind, t.reason, t.details
FROM streak_changes t {_WHO} WHERE t.tenant_id = :id ORDER BY t.sequence
"""
_PAUSES = (
    f"SELECT p.external_id, t.first_day, t.last_day FROM pauses t {_WHO} WHERE t.tenant_id = :id"
)
_STATES = f"""
SELECT p.external_id, t.current_count, t.longest_count, t.grace_remaining
FROM streak_states t {_WHO} JOIN streaks s ON s.tenant_id = t.tenant_id AND s.id = t.streak_id
WHERE t.tenant_id = :id AND s.code = '{MENDED}' AND t.revision = s.revision
"""


@dataclass
class Sets:
    """What decides on one streak, as the ledgers have it."""

    retracted: set[str] = field(default_factory=set)  # ticks
    repaired: set[int] = field(default_factory=set)  # recorded without a tick
    protected: set[int] = field(default_factory=set)
    paused: set[int] = field(default_factory=set)
    grants: list[tuple[int, int]] = field(default_factory=list)

    def apply(self, kind: str, details: dict[str, Any]) -> None:
        """Go on by one change."""
        self.retracted |= set(details.get("tick_ids", ()))
        if kind == "period_retracted":
            self.repaired.discard(details["period"])
        elif kind in ("freeze_granted", "freeze_bought"):
            self.grants.append((details["granted_day"], details["amount"]))
        elif kind in ("repair", "restore"):
            periods = {day for first, end in details["periods"] for day in range(first, end)}
            into = self.repaired if details["as"] == "recorded" else self.protected
            into |= periods


def check(
    verdict: Verdict, engine: Engine, url: str, side: Side, found: Found, writes: Sequence[Write]
) -> None:
    """Every accepted change stands in the ledger once, and every streak is as the sets say."""
    with reading(engine) as session:
        changes = list(session.execute(sa.text(_CHANGES), {"id": side.id}))
        paused = list(session.execute(sa.text(_PAUSES), {"id": side.id}))
        states = {who: row for who, *row in session.execute(sa.text(_STATES), {"id": side.id})}
    _check_ledger(verdict, side, found, changes, writes)
    sets = _sets(changes, paused)
    for who in HURT:
        recorded = set(_recorded(found, who, sets[who].retracted)) | sets[who].repaired
        _check_streak(verdict, side, who, (recorded, sets[who], states.get(who)), url)


def _check_ledger(
    verdict: Verdict, side: Side, found: Found, changes: Sequence[Any], writes: Sequence[Write]
) -> None:
    times = Counter(row.reason for row in changes)
    for write in writes:
        if write.side != side.id or write.kind != "change":
            continue
        number = times.pop(write.token, 0)
        is_rejected = write.id in found.rejections
        if number + is_rejected > 1:
            verdict.doubled += 1
            verdict.add(side, f"{write.token} was decided on {number + is_rejected} times")
        elif not number and write.outcome == "ok" and not is_rejected:
            verdict.lost += 1
            verdict.add(side, f"{write.token} was accepted as {write.id} and is lost")
        elif number and write.outcome == "fail":
            verdict.add(side, f"{write.token} was refused ({write.refusal}) and applied")
    for token, number in times.items():
        verdict.add(side, f"{number} changes {token!r}, which nobody sent")


def _sets(changes: Iterable[Any], paused: Iterable[Any]) -> defaultdict[str, Sets]:
    sets: defaultdict[str, Sets] = defaultdict(Sets)
    for row in changes:
        sets[row.external_id].apply(row.kind, row.details)
    for who, first, last in paused:
        sets[who].paused |= set(range(first, last + 1))
    return sets


def _recorded(found: Found, who: str, retracted: set[str]) -> Iterator[int]:
    for row in found.ticks:
        if (row.participant, row.code) == (who, MENDED) and row.id not in retracted:
            yield period_of("daily", row.occurred_us, row.timezone)


def _check_streak(
    verdict: Verdict, side: Side, who: str, held: tuple[set[int], Sets, Any], url: str
) -> None:
    """The history that the service shows, and the row, are those of the oracle."""
    recorded, sets, row = held
    history = Oracle(_terms(sets))
    history.walk(recorded, (datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days)
    expected = [(key_of(DAILY, day), *more) for day, *more in history.days]
    shown = _history(side, who, url)
    if shown != expected:
        few = [pair for pair in zip(shown, expected, strict=False) if pair[0] != pair[1]][:2]
        about = f"{len(shown)} and {len(expected)} periods; {few}"
        verdict.add(side, f"{who!r} was mended into another history: {about}")
    if row is not None and recorded:
        last = Oracle(_terms(sets))
        last.walk(recorded, max(recorded))
        told = [last.count, last.longest, last.days[-1][3]]
        if list(row) != told:
            verdict.add(side, f"the state of {who!r} is {list(row)}, the oracle says {told}")


def _terms(sets: Sets) -> Terms:
    protections: tuple[tuple[Protection, Ranges], ...] = (
        ("pause", _ranges(sets.paused)),
        ("repair", _ranges(sets.protected)),
    )
    return Terms(DAILY, ((BEGINNING, RULES),), protections, tuple(sorted(sets.grants)))


def _ranges(periods: set[int]) -> Ranges:
    ranges: Ranges = ()
    for period in sorted(periods):
        ranges = add(ranges, period)
    return ranges


def _history(side: Side, who: str, url: str) -> list[tuple[Any, ...]]:
    path = f"{url}{BASE}/participants/{who}/streaks/{MENDED}/history"
    headers = {"X-API-Key": side.writer}
    answer = requests.get(path, headers=headers, timeout=TIMEOUT_SECONDS)
    return [
        (one["period_key"], one["status"], one["count"], one["grace_remaining"],
         one["freezes_remaining"])
        for one in answer.json()["periods"]
    ]  # fmt: skip
