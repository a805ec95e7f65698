"""Kinds of rows: the fields of each and the route of its items (conventions: __init__.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from unbroken_client import many
from unbroken_client.many import Sending
from unbroken_client.results import ItemResult
from unbroken_client.transport import Transport

from api.cli.importing import cells
from api.cli.importing.instants import instant

Item = dict[str, Any]
SendRows = Callable[[Transport, Sequence[Mapping[str, Any]], tuple[str, Sending]], list[ItemResult]]


@dataclass(frozen=True, slots=True)
class RowField:
    """A field of a kind, named as in the API."""

    read: Callable[[Any], Any] = cells.text  # of a cell that is not empty; raises BadRow
    is_needed: bool = False
    hints: tuple[str, ...] = ()  # names in other products: suggested, never assumed


@dataclass(frozen=True, slots=True)
class RowKind:
    """A kind of row."""

    name: str
    fields: Mapping[str, RowField]
    send: SendRows
    ignored: frozenset[str] = frozenset()  # columns of `unbroken export` that are not imported
    # Completes an item in place with the zone of --timezone; raises BadRow.
    finish: Callable[[Item, str | None], None] = lambda item, zone: None
    code_field: str | None = None  # the field that names a definition
    definitions: str = ""  # the API's list of definitions
    noun: str = ""  # of a definition, as in the API
    # The calendar day for which an item counts, by its zone; None for a kind without days.
    day: Callable[[Item, str | None], str] | None = None
    is_queued: bool = True  # applied by workers; otherwise written at once, without facts
    is_repair: bool = False  # a change of streaks: no effects, and also of inactive ones


PARTICIPANT_HINTS = (
    "user_id",
    "userid",
    "user",
    "external_id",
    "member_id",
    "player_id",
    "customer_id",
    "id",
)
_TIMES = (
    "date", "time", "datetime", "day", "when", "occurred_at", "created_at", "recorded_at",
    "event_time", "time_stamp", "ts", "at",
)  # fmt: skip


def _finish_tick(item: Item, zone: str | None) -> None:
    """Parse the instant with the zone of its row. A day without a zone counts as that day wherever
    its participant lives."""
    own = item.get("timezone") or item.get("counted_timezone") or zone
    item["timestamp"], is_day = instant(item["timestamp"], own)
    if is_day and own is None:
        item["counted_timezone"] = "UTC"


def _finish_award(item: Item, zone: str | None) -> None:
    if "earned_at" in item:
        item["earned_at"], _ = instant(item["earned_at"], zone)


def _day_of_tick(item: Item, zone: str | None) -> str:
    at = datetime.fromisoformat(item["timestamp"])
    return cells.on_calendar(at, item.get("counted_timezone") or item.get("timezone") or zone)


TICKS = RowKind(
    name="ticks",
    fields={
        "participant_id": RowField(is_needed=True, hints=PARTICIPANT_HINTS),
        "streak_code": RowField(is_needed=True, hints=("streak", "habit", "metric", "event_type")),
        "timestamp": RowField(cells.as_it_is, is_needed=True, hints=_TIMES),
        "timezone": RowField(cells.zone, hints=("time_zone", "tz", "zone")),
        "counted_timezone": RowField(cells.zone),
        "metadata": RowField(cells.json_object, hints=("properties", "payload", "data")),
        "value": RowField(cells.number),
    },
    send=lambda transport, batch, keyed: many.send(transport, many.TICKS, batch, keyed),
    ignored=frozenset({"tick_id", "period_key", "outcome", "new_count"}),
    finish=_finish_tick,
    code_field="streak_code",
    definitions="/streaks",
    noun="Streak",
    day=_day_of_tick,
)

_REASON = RowField(hints=("note", "comment"))


PAUSES = RowKind(
    name="pauses",
    fields={
        "participant_id": RowField(is_needed=True, hints=PARTICIPANT_HINTS),
        "from": RowField(is_needed=True, hints=("start", "starts_at", "first_day")),
        "to": RowField(is_needed=True, hints=("end", "ends_at", "last_day")),
        "streak_codes": RowField(cells.json_list),
        "reason": _REASON,
    },
    send=lambda transport, batch, keyed: many.send(transport, many.PAUSES, batch, keyed),
    ignored=frozenset({"pause_id"}),
    is_repair=True,
)
FREEZES = RowKind(
    name="freezes",
    fields={
        "participant_id": RowField(is_needed=True, hints=PARTICIPANT_HINTS),
        "streak_code": RowField(is_needed=True, hints=("streak", "habit")),
        "amount": RowField(cells.whole_number, is_needed=True, hints=("freezes", "count")),
        "granted_on": RowField(hints=("date", "day", "granted_at")),
        "reason": _REASON,
    },
    send=lambda transport, batch, keyed: many.send(transport, many.FREEZES, batch, keyed),
    ignored=frozenset({"what", "streak_change_id"}),
    code_field="streak_code",
    definitions="/streaks",
    noun="Streak",
    is_repair=True,
)
REPAIRS = RowKind(
    name="repairs",
    fields={
        "participant_id": RowField(is_needed=True, hints=PARTICIPANT_HINTS),
        "streak_code": RowField(is_needed=True, hints=("streak", "habit")),
        "from": RowField(is_needed=True, hints=("start", "first_day")),
        "to": RowField(is_needed=True, hints=("end", "last_day")),
        "as": RowField(),
        "reason": _REASON,
    },
    send=lambda transport, batch, keyed: many.send(transport, many.REPAIRS, batch, keyed),
    ignored=frozenset({"streak_change_id"}),
    code_field="streak_code",
    definitions="/streaks",
    noun="Streak",
    is_repair=True,
)

AWARDS = RowKind(
    name="awards",
    fields={
        "participant_id": RowField(is_needed=True, hints=PARTICIPANT_HINTS),
        "badge_code": RowField(is_needed=True, hints=("badge", "achievement", "code")),
        "metadata": RowField(cells.json_object, hints=("properties", "payload", "data")),
        "earned_at": RowField(cells.as_it_is, hints=("earned", "awarded_at", *_TIMES)),
    },
    send=lambda transport, batch, keyed: many.send(transport, many.AWARDS, batch, keyed),
    ignored=frozenset({"award_id"}),
    finish=_finish_award,
    code_field="badge_code",
    definitions="/admin/badges",
    noun="Badge",
)
