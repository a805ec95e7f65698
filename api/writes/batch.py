"""Batches of queued writes: each item is accepted or refused on its own (contract §2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Response
from typing_extensions import TypedDict

from api.http.auth import principal, tolerates_unknown, under_current_configuration
from api.http.describe import Parameter
from api.http.idempotency import IDEMPOTENCY_KEY, batch_idempotency
from api.http.key_cache import Principal
from api.http.problems import FieldError, Problem, invalid, invalid_field
from api.http.rate_limits import RATE_LIMIT_CODES, refuse_spent, show_tightest_rate
from api.http.request_context import app_context
from api.http.responses import answer
from api.input.json_text import check_encoding, parse_json
from api.input.unknown_fields import unknown, unknown_in
from api.input.validation import query_bool, read_body, require_type, validated
from api.writes.status import erased_since
from api.writes.submit import (
    NoSuchDefinition,
    QueuedWrite,
    WriteStamp,
    check_write,
    confirm,
    hand_over,
    refused,
    rejected,
    take_in,
)
from models import clock, ids
from workers.intake.client import Accepted, Message
from workers.telemetry import metrics_store
from workers.telemetry.metrics import ERRORS

BATCH_MAX = 1_000  # contract §2
# Problems of a participant belong to an item of the batch.
PROBLEMS = (
    "forbidden",
    "idempotency_conflict",
    *RATE_LIMIT_CODES[:2],
)
PARAMETERS = (
    IDEMPOTENCY_KEY,
    Parameter(
        "facts",
        {"type": "boolean", "default": True},
        "`false` (admin key): these writes and their effects change states and"
        " ledgers, but create no facts. For the import of a history.",
    ),
)
EFFECTS = Parameter(
    "effects",
    {"type": "boolean", "default": True},
    "`false`, with `facts=false`: milestones and challenges do not count these"
    " writes. For a history whose badges, points and progress are imported separately.",
)
JSON, LINES = "application/json", "application/x-ndjson"

BatchOutcome = Message | Problem


class FieldErrorItem(TypedDict):
    """One invalid field of an item."""

    field: str
    code: str
    message: str


class ItemError(TypedDict):
    """The error of an item."""

    code: str
    detail: str
    errors: list[FieldErrorItem]


@dataclass(frozen=True, slots=True)
class _Posted:
    kind: QueuedWrite
    name: str
    is_silent: bool
    is_alone: bool
    items: Sequence[Any]


def post(kind: QueuedWrite, name: str) -> Response:
    """Accept up to 1,000 writes: a JSON list under a name, or one write per line.

    429 for the whole batch when the cap of its key or tenant is already used up.
    """
    if not app_context().memory.is_empty:
        check_write(principal())
    _check_caps()
    is_silent = _is_silent()
    posted = _Posted(kind, name, is_silent, _is_alone(kind, is_silent), items(name))
    outcomes, accepted = under_current_configuration(lambda caller: _accept(caller, posted))
    results = list(_results(kind, outcomes, accepted))
    codes = Counter(result["error"]["code"] for result in results if "error" in result)
    metrics_store.add_each(ERRORS, codes)
    rejected = codes.total()
    counts = {"accepted": len(results) - rejected, "rejected": rejected}
    return answer({"results": results} | counts, 202)


def _is_silent() -> bool:
    if query_bool("facts") is not False:
        return False
    if not principal().key.is_admin:
        raise Problem(403, "forbidden", "facts=false needs a key with the admin scope.")
    return True


def _is_alone(kind: QueuedWrite, is_silent: bool) -> bool:
    if not kind.may_be_alone or query_bool("effects") is not False:
        return False
    if not is_silent:
        raise invalid_field("effects", "silent", "must be true unless facts=false is given")
    return True


def _check_caps() -> None:
    try:
        under_current_configuration(refuse_spent)
    except Problem:
        take_in()
        raise


def items(name: str) -> list[Any]:
    """Each item: a value to validate, or the Problem of a line that could not be read."""
    media_type = require_type(JSON, LINES)
    raw = read_body()
    if media_type == LINES:
        check_encoding(raw)
        values = [_line(line) for line in raw.splitlines() if line.strip()]
    else:
        values = _list(parse_json(raw), name)
    if not 1 <= len(values) <= BATCH_MAX:
        field, noun = (name, name) if media_type == JSON else ("body", "lines")
        raise invalid_field(field, "list_length", f"must hold 1 to {BATCH_MAX:,} {noun}")
    return values


def _list(document: Any, name: str) -> list[Any]:
    whole = document if isinstance(document, dict) else {}
    values, others = whole.get(name), unknown_in((name,), whole)
    if not isinstance(values, list):
        raise invalid(FieldError(name, "list_type", f"must be a list of {name}"), *others)
    if others and not tolerates_unknown():
        raise unknown(others, len(whole) - 1)
    return values


def _line(line: bytes) -> Any:
    try:
        return parse_json(line, "line")
    except Problem as problem:
        return problem


def _accept(caller: Principal, posted: _Posted) -> tuple[list[BatchOutcome], Accepted]:
    received_us, kind = clock.now_us(), posted.kind
    how = (posted.is_silent, posted.is_alone)
    issued = ids.issue(received_us, kind.ledger.secret(caller.tenant), len(posted.items))
    outcomes = [
        _outcome(caller, kind, value, WriteStamp(str(write_id), received_us, False, *how))
        for value, write_id in zip(posted.items, issued, strict=True)
    ]
    if any(isinstance(outcome, NoSuchDefinition) for outcome in outcomes):
        confirm(caller)
    messages = [outcome for outcome in outcomes if not isinstance(outcome, Problem)]
    indexes = [index for index, outcome in enumerate(outcomes) if not isinstance(outcome, Problem)]
    operation = f"{posted.name} of {kind.ledger.noun}, silent {posted.is_silent}"
    if posted.is_alone:
        operation += ", alone"
    key = batch_idempotency(operation, indexes, posted.items)
    if not messages:
        show_tightest_rate()
        return outcomes, Accepted(0)
    return outcomes, hand_over(caller, messages, key)


def _outcome(caller: Principal, kind: QueuedWrite, value: Any, stamp: WriteStamp) -> BatchOutcome:
    if isinstance(value, Problem):
        return value
    try:
        return kind.message(caller, validated(kind.body, value), stamp)
    except Problem as problem:
        return problem


def _results(
    kind: QueuedWrite, outcomes: Sequence[BatchOutcome], accepted: Accepted
) -> Iterator[dict[str, Any]]:
    """One entry per item in order: its id, or what is wrong with it."""
    handed = 0  # index of the next item among those submitted
    write_ids = _ids(kind, outcomes, accepted)
    erased = _erased(outcomes, accepted)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Problem):
            yield {"index": index, "error": outcome.as_item()}
            continue
        refusal = accepted.refused.get(handed)
        handed += 1
        if refusal is None and outcome.participant_id in erased:
            problem = rejected("participant_erased", outcome.participant_id)
            yield {"index": index, "error": problem.as_item()}
        elif refusal is None:
            yield {"index": index, kind.ledger.id_field: write_ids.get(index, outcome.id)}
        else:
            problem = refused(refusal, principal().caps, outcome.participant_id)
            yield {"index": index, "error": problem.as_item()}


def _erased(outcomes: Sequence[BatchOutcome], accepted: Accepted) -> set[str]:
    """Participants of writes first accepted under this Idempotency-Key who were erased since."""
    if accepted.known_id is None:
        return set()
    names = {outcome.participant_id for outcome in outcomes if not isinstance(outcome, Problem)}
    return erased_since(accepted.known_id, names)


def _ids(kind: QueuedWrite, outcomes: Sequence[BatchOutcome], accepted: Accepted) -> dict[int, str]:
    """The ids by index that the items got when this batch was first accepted; empty the first time.
    The valid items are the same both times: the fingerprint includes them."""
    if accepted.known_id is None:
        return {}
    known, secret = UUID(accepted.known_id), kind.ledger.secret(principal().tenant)
    valid = [index for index, outcome in enumerate(outcomes) if not isinstance(outcome, Problem)]
    return {index: str(ids.sibling(known, index - valid[0], secret)) for index in valid}
