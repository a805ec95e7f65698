"""The outbox: facts and their deliveries, written in the transaction of the change itself.

A fact without its change, or a change without its fact, cannot be committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models import clock
from models.db import Connection, copy, copy_text
from models.delivery.destinations import DestinationFilter
from webhooks.facts import Fact, matches

_FACT_COLUMNS = (
    "tenant_id",
    "id",
    "participant_id",
    "sequence",
    "type",
    "occurred_at",
    "body",
    "streak_code",
)
_DELIVERY_COLUMNS = (
    "tenant_id", "fact_id", "webhook_id", "next_attempt_at", "participant_id", "sequence",
)  # fmt: skip


def publish(
    connection: Connection, facts: Sequence[Fact], destination_filters: Sequence[DestinationFilter]
) -> int:
    """Write facts and one delivery for each destination that wants them; return how many."""
    if not facts:
        return 0
    copy(connection, "facts", _FACT_COLUMNS, map(_fact_line, facts))
    lines = list(_delivery_lines(facts, destination_filters))
    if lines:
        copy(connection, "deliveries", _DELIVERY_COLUMNS, lines)
    return len(lines)


def _fact_line(fact: Fact) -> str:
    return (
        f"{fact.tenant_id}\t{fact.id}\t{_number(fact.participant_id)}\t{_number(fact.sequence)}\t"
        f"{fact.type}\t{clock.to_text(fact.occurred_us)}\t{copy_text(fact.body)}\t"
        f"{copy_text(fact.streak_code)}\n"
    )


def _number(value: int | None) -> str:
    return "\\N" if value is None else str(value)


def _delivery_lines(
    facts: Sequence[Fact], destination_filters: Sequence[DestinationFilter]
) -> Iterator[str]:
    wanted: dict[tuple[int, str, str | None], list[DestinationFilter]] = {}
    for fact in facts:
        key = (fact.tenant_id, fact.type, fact.streak_code)
        if key not in wanted:
            wanted[key] = [
                destination_filter
                for destination_filter in destination_filters
                if wants(destination_filter, fact)
            ]
        for destination in wanted[key]:
            # An unordered destination's rows are in no index of orders.
            order = (fact.participant_id, fact.sequence) if destination.is_ordered else (None, None)
            yield (
                f"{fact.tenant_id}\t{fact.id}\t{destination.webhook_id}\t{clock.to_text(fact.occurred_us)}\t"
                f"{_number(order[0])}\t{_number(order[1])}\n"
            )


def wants(destination_filter: DestinationFilter, fact: Fact) -> bool:
    """Whether a destination wants a fact. Pure."""
    return (
        destination_filter.tenant_id == fact.tenant_id
        and matches(destination_filter.event_types, fact.type)
        and (
            destination_filter.streak_codes is None
            or fact.streak_code is None
            or fact.streak_code in destination_filter.streak_codes
        )
    )
