"""Kinds of rows besides ticks and awards: participants, balances, claims, challenges.

They are written at once, not queued, and rows are identified by their content: sending the same
rows again changes nothing (models/people/imports.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unbroken_client.errors import problem_error
from unbroken_client.many import Sending
from unbroken_client.results import ItemResult
from unbroken_client.transport import Call, Transport

from api.cli.importing import cells
from api.cli.importing.instants import instant
from api.cli.importing.kinds import PARTICIPANT_HINTS, Item, RowField, RowKind, SendRows


def _to(name: str) -> SendRows:
    """Send rows to the route of a kind; the list in the body has the kind's name."""

    def send(
        transport: Transport, batch: Sequence[Mapping[str, Any]], keyed: tuple[str, Sending]
    ) -> list[ItemResult]:
        call = Call("POST", f"/admin/import/{name}", {name: list(batch)})
        return [_result(result) for result in transport.call(call)["results"]]

    return send


def _result(answer: Mapping[str, Any]) -> ItemResult:
    if "error" in answer:
        return ItemResult(answer["index"], error=problem_error(answer["error"]))
    return ItemResult(answer["index"], id=answer["participant_id"])


def instants(*names: str) -> Callable[[Item, str | None], None]:
    """Parse the instants of some fields, if present, with the zone of --timezone."""

    def finish(item: Item, zone: str | None) -> None:
        for name in names:
            if name in item:
                item[name], _ = instant(item[name], zone)

    return finish


_WHO = RowField(is_needed=True, hints=PARTICIPANT_HINTS)
_INSTANT = RowField(cells.as_it_is)
_NUMBER = RowField(cells.whole_number)
_DATA = RowField(cells.json_object, hints=("properties", "payload", "data"))

PARTICIPANTS = RowKind(
    name="participants",
    fields={
        "participant_id": _WHO,
        "display_name": RowField(hints=("name", "full_name", "username")),
        "avatar_url": RowField(hints=("avatar", "image", "picture")),
        "attributes": RowField(cells.json_object, hints=("properties", "traits")),
        "timezone": RowField(cells.zone, hints=("time_zone", "tz", "zone")),
        "status": RowField(),
        "tags": RowField(cells.json_list, hints=("labels",)),
        "programs": RowField(cells.json_list),
        "created_at": _INSTANT,
        "first_seen_at": _INSTANT,
        "last_seen_at": _INSTANT,
    },
    send=_to("participants"),
    ignored=frozenset({"total_events", "points_earned", "points_spent"}),
    finish=instants("created_at", "first_seen_at", "last_seen_at"),
    is_queued=False,
)
BALANCES = RowKind(
    name="balances",
    fields={
        "participant_id": _WHO,
        "total_earned": RowField(cells.whole_number, is_needed=True, hints=("points", "earned")),
        "total_spent": RowField(cells.whole_number, hints=("spent", "redeemed")),
        "tier_code": RowField(hints=("tier", "level")),
        "tier_achieved_at": _INSTANT,
    },
    send=_to("balances"),
    ignored=frozenset({"balance"}),
    finish=instants("tier_achieved_at"),
    is_queued=False,
)
REDEMPTIONS = RowKind(
    name="claims",
    fields={
        "participant_id": _WHO,
        "reward_code": RowField(is_needed=True, hints=("reward", "code")),
        "claimed_at": RowField(cells.as_it_is, is_needed=True, hints=("date", "created_at", "at")),
        "points_deducted": RowField(cells.whole_number, hints=("points", "cost", "price")),
        "balance_after": _NUMBER,
        "metadata": _DATA,
        "claim_id": RowField(hints=("id", "redemption_id", "order_id")),
    },
    send=_to("claims"),
    finish=instants("claimed_at"),
    code_field="reward_code",
    definitions="/admin/rewards",
    noun="Reward",
    is_queued=False,
)
CHALLENGES = RowKind(
    name="challenges",
    fields={
        "participant_id": _WHO,
        "challenge_code": RowField(is_needed=True, hints=("challenge", "code")),
        "progress": RowField(cells.whole_number, is_needed=True, hints=("count", "value")),
        "completed_at": _INSTANT,
    },
    send=_to("challenges"),
    ignored=frozenset({"target", "updated_at"}),
    finish=instants("completed_at"),
    code_field="challenge_code",
    definitions="/admin/challenges",
    noun="Challenge",
    is_queued=False,
)
