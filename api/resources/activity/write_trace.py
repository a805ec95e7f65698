"""The trace of one write from stored data: accepted, queued, applied, published, delivered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from api.resources.activity import points, redemptions, tier_assignments
from api.resources.activity.awards import AWARD
from api.resources.activity.ticks import TICK
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes.status import WriteLedger
from models import clock, ids
from models.db import Connection
from models.identity import participants, tenants
from models.identity.tenants import Tenant
from models.ledgers import dead_letters, rejections
from models.operator import trace
from models.rules.periods import DAY_US
from webhooks.facts import public_id
from workers.intake.client import Intake, Queued

LEDGERS = (
    TICK.ledger,
    AWARD.ledger,
    points.AWARD.ledger,
    tier_assignments.LEDGER,
    redemptions.LEDGER,
    STREAK_CHANGES,
)
PREFIX_CHARS = 18  # of an id: its millisecond and 12 random bits; the ids of a batch share them


@dataclass(frozen=True, slots=True)
class TraceStep:
    """A step in the trace of a write."""

    what: str  # accepted | queued | applied | rejected | dead_letter | fact | attempt | delivery …
    said: str
    at: datetime | None = None  # None: not stored

    def as_json(self) -> dict[str, Any]:
        """The JSON of a step."""
        at = clock.isoformat_or_none(self.at)
        return {"at": at, "step": self.what, "detail": self.said}


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything known about a write."""

    write_id: UUID
    kind: str
    tenant: Tenant
    status: str  # queued | applied | rejected | dead | replayed | discarded | past_retention | gone
    steps: list[TraceStep]


def follow(connection: Connection, intake: Intake, write_id: UUID, ticks_days: int) -> Trace | None:
    """The trace of a write; None if its id was issued to no tenant. Raises Unavailable."""
    for tenant, ledger in _issuers(connection, write_id):
        waiting = intake.queued(tenant.id, write_id)  # first: a worker may apply it now
        status, steps = _ended(connection, tenant, ledger, write_id)
        if status is None and waiting is not None:
            status, steps = "queued", [_waits(waiting)]
        if status is None:
            status, steps = _missing(write_id, ticks_days)
        return Trace(write_id, ledger.noun, tenant, status, [_accepted(write_id), *steps])
    return None


def _issuers(connection: Connection, write_id: UUID) -> Iterator[tuple[Tenant, WriteLedger]]:
    """The tenant and ledger of an id, found by the tag in it (models/ids.py)."""
    for tenant_id in tenants.all_ids(connection):
        tenant = tenants.by_id(connection, tenant_id)
        for ledger in LEDGERS:
            if ids.is_issued(write_id, ledger.secret(tenant)):
                yield tenant, ledger


def _accepted(write_id: UUID) -> TraceStep:
    said = f"by the API; its request is in the log: grep {str(write_id)[:PREFIX_CHARS]}"
    return TraceStep("accepted", said, clock.from_us(ids.issued_at_us(write_id)))


def _waits(waiting: Queued) -> TraceStep:
    drain = waiting.drain
    by = f"read by drain {drain}, try {waiting.tries}" if drain else "not read by a drain yet"
    return TraceStep("queued", f"in {waiting.stream}, {by}", clock.from_us(waiting.appended_us))


def _missing(write_id: UUID, days: int) -> tuple[str, list[TraceStep]]:
    if clock.now_us() - ids.issued_at_us(write_id) > days * DAY_US:
        return "past_retention", [TraceStep("unknown", f"older than {days} days: no longer kept")]
    said = "neither waiting nor in a ledger: erased with its participant, or never accepted"
    return "gone", [TraceStep("unknown", said)]


def _ended(
    connection: Connection, tenant: Tenant, ledger: WriteLedger, write_id: UUID
) -> tuple[str | None, list[TraceStep]]:
    """The final status of a write and its effects; None while it has none."""
    found = ledger.find(connection, tenant.id, write_id)
    if found is not None:
        return "applied", list(_followed(connection, tenant, write_id, found.answer()))
    refused = rejections.find(connection, tenant.id, write_id)
    if refused is not None:
        said = f"{refused.code}: {refused.detail}" if refused.detail else refused.code
        return "rejected", [TraceStep("rejected", said)]
    dead_letter = dead_letters.find(connection, tenant.id, write_id)
    if dead_letter is None:
        return None, []
    said = f"after {dead_letter.tries} tries; unbroken dead-letters show {write_id}"
    steps = [TraceStep("dead_letter", said, dead_letter.dead_since)]
    if dead_letter.settled_at is not None:
        steps.append(
            TraceStep(dead_letter.status, "by an admin or the operator", dead_letter.settled_at)
        )
    return dead_letter.status, steps


# -- effects ---------------------------------------------------------------------------------


def _followed(
    connection: Connection, tenant: Tenant, write_id: UUID, answer: dict[str, Any]
) -> Iterator[TraceStep]:
    participant = participants.find(connection, tenant.id, str(answer.get("participant_id")))
    published = (
        trace.facts(connection, (tenant.id, participant.id), write_id) if participant else []
    )
    yield TraceStep("applied", _said(answer), _at(published[0].id) if published else None)
    for fact in published:
        said = f"{fact.type} {public_id(fact.id)}, sequence {fact.sequence} of the participant"
        yield TraceStep("fact", said, _at(fact.id))
    if not published:
        yield TraceStep(
            "unknown", "no fact names it: it changed nothing, or its facts are past their retention"
        )
    fact_ids = [fact.id for fact in published]
    yield from sorted(_sent(connection, tenant.id, fact_ids), key=_order)


def _sent(connection: Connection, tenant_id: int, fact_ids: list[UUID]) -> Iterator[TraceStep]:
    for attempt in trace.attempts(connection, tenant_id, fact_ids):
        what = attempt.error or str(attempt.status_code)
        said = (
            f"{what} in {attempt.duration_ms} ms, number {attempt.number}, to {attempt.webhook_id}"
        )
        yield TraceStep("attempt", said, _at(attempt.id))
    for delivery in trace.deliveries(connection, tenant_id, fact_ids):
        said = f"{delivery.status} after {delivery.attempts} attempts, to {delivery.webhook_id}"
        if delivery.status == "pending":
            next_at = clock.isoformat(delivery.next_attempt_at)
            said += f"; next at {next_at}, or once the destination recovers"
        yield TraceStep("delivery", said)


def _order(step: TraceStep) -> tuple[bool, datetime]:
    return step.at is None, step.at or clock.from_us(0)


def _at(number: UUID) -> datetime:
    return clock.from_us(ids.issued_at_us(number))


_PUBLISHED = ("streak_code", "badge_code", "tier_code", "reward_code", "outcome", "previous_count")
_MORE = ("new_count", "amount", "balance", "period_key", "status")


def _said(answer: dict[str, Any]) -> str:
    """The main figures of an answer, without the participant."""
    return ", ".join(f"{name} {answer[name]}" for name in (*_PUBLISHED, *_MORE) if name in answer)
