"""The outbox: facts and their deliveries, written in the transaction of the change itself.

A fact without its change, or a change without its fact, cannot be committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models import clock
from models.db import Session, copy, copy_text
from models.webhooks import Subscription
from webhooks.facts import Fact, matches

_FACT_COLUMNS = ("tenant_id", "id", "participant_id", "sequence", "type", "occurred_at", "body")
_DELIVERY_COLUMNS = ("tenant_id", "fact_id", "webhook_id", "next_attempt_at")


def publish(session: Session, facts: Sequence[Fact], subscriptions: Sequence[Subscription]) -> int:
    """Write facts and one delivery for each subscription that wants them; return how many."""
    if not facts:
        return 0
    copy(session, "facts", _FACT_COLUMNS, map(_fact_line, facts))
    lines = list(_delivery_lines(facts, subscriptions))
    if lines:
        copy(session, "deliveries", _DELIVERY_COLUMNS, lines)
    return len(lines)


def _fact_line(fact: Fact) -> str:
    return (
        f"{fact.tenant_id}\t{fact.id}\t{fact.participant_id}\t{fact.sequence}\t{fact.type}\t"
        f"{clock.to_text(fact.occurred_us)}\t{copy_text(fact.body)}\n"
    )


def _delivery_lines(facts: Sequence[Fact], subscriptions: Sequence[Subscription]) -> Iterator[str]:
    wanted: dict[tuple[int, str], list[str]] = {}
    for fact in facts:
        key = (fact.tenant_id, fact.type)
        if key not in wanted:
            wanted[key] = [
                str(one.webhook_id)
                for one in subscriptions
                if one.tenant_id == fact.tenant_id and matches(one.event_types, fact.type)
            ]
        for webhook_id in wanted[key]:
            due = clock.to_text(fact.occurred_us)
            yield f"{fact.tenant_id}\t{fact.id}\t{webhook_id}\t{due}\n"
