"""Queued writes, many at once: each item stands for itself (contract §2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response
from pydantic import ValidationError as ModelError
from typing_extensions import TypedDict

from api import door, overload
from api.answers import answer
from api.auth import principal, under_current_configuration
from api.directory import Principal
from api.errors import Problem, invalid, invalid_field
from api.limits import RATE_LIMIT_CODES, refuse_spent, show_standing
from api.validation import field_errors, parse_json, read_body, require_type
from api.writes import Kind, NoSuchDefinition, Stamp, confirm, refused
from models import clock, ids
from workers import tally
from workers.intake import Accepted, Message
from workers.meters import ERRORS

BATCH_MAX = 1_000  # contract §2
PROBLEMS = RATE_LIMIT_CODES[:2]  # the participant's is that of an item
JSON, LINES = "application/json", "application/x-ndjson"

Outcome = Message | Problem


class FieldErrorItem(TypedDict):
    """One invalid field of an item."""

    field: str
    code: str
    message: str


class ItemError(TypedDict):
    """What was wrong with an item."""

    code: str
    detail: str
    errors: list[FieldErrorItem]


def post(kind: Kind, name: str) -> Response:
    """Accept up to 1,000 writes: a JSON list under a name, or one in each line.

    429 for all of it when the cap of its key or tenant is used up already.
    """
    overload.check_write(principal())
    _check_caps()
    items = _items(name)
    outcomes, accepted = under_current_configuration(lambda who: _accept(who, kind, items))
    results = list(_results(kind, outcomes, accepted))
    codes = Counter(result["error"]["code"] for result in results if "error" in result)
    tally.add_each(ERRORS, codes)
    rejected = codes.total()
    counts = {"accepted": len(results) - rejected, "rejected": rejected}
    return answer({"results": results} | counts, 202)


def _check_caps() -> None:
    try:
        under_current_configuration(refuse_spent)
    except Problem:
        overload.take_in(principal())
        raise


def _items(name: str) -> list[Any]:
    """Each a value to validate, or the Problem of a line that could not be read."""
    media_type = require_type(JSON, LINES)
    raw = read_body()
    if media_type == LINES:
        values = [_line(line) for line in raw.splitlines() if line.strip()]
    else:
        values = _list(parse_json(raw), name)
    if not 1 <= len(values) <= BATCH_MAX:
        raise invalid_field(name, "list_length", f"must hold 1 to {BATCH_MAX} {name}")
    return values


def _list(document: Any, name: str) -> list[Any]:
    values = document.get(name) if isinstance(document, dict) else None
    if not isinstance(values, list):
        raise invalid_field(name, "list_type", f"must be a list of {name}")
    return values


def _line(line: bytes) -> Any:
    try:
        return parse_json(line)
    except Problem as problem:
        return problem


def _accept(who: Principal, kind: Kind, items: Sequence[Any]) -> tuple[list[Outcome], Accepted]:
    received_us = clock.now_us()
    issued = ids.issue(received_us, kind.ledger.secret(who.tenant), len(items))
    outcomes = [
        _outcome(who, kind, value, Stamp(str(write_id), received_us, is_awaited=False))
        for value, write_id in zip(items, issued, strict=True)
    ]
    if any(isinstance(one, NoSuchDefinition) for one in outcomes):
        confirm(who)
    messages = [one for one in outcomes if not isinstance(one, Problem)]
    if not messages:
        show_standing()
        return outcomes, Accepted(0)
    return outcomes, door.append(who, messages)


def _outcome(who: Principal, kind: Kind, value: Any, stamp: Stamp) -> Outcome:
    if isinstance(value, Problem):
        return value
    try:
        return kind.message(who, kind.body.model_validate(value), stamp)
    except ModelError as error:
        return invalid(*field_errors(error))
    except Problem as problem:
        return problem


def _results(
    kind: Kind, outcomes: Sequence[Outcome], accepted: Accepted
) -> Iterator[dict[str, Any]]:
    """One entry per item in order: its id, or what was wrong with it."""
    place = 0  # among those that were handed over
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Problem):
            yield {"index": index, "error": outcome.as_item()}
            continue
        refusal = accepted.refused.get(place)
        place += 1
        if refusal is None:
            yield {"index": index, kind.ledger.id_field: outcome.id}
        else:
            problem = refused(refusal, principal().caps, outcome.participant_id)
            yield {"index": index, "error": problem.as_item()}
