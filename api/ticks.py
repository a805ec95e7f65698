"""Ticks: record one, record many, ask what became of one (seed 004, contract §2)."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import ValidationError as ModelError

from api.answers import answer
from api.auth import is_current, principal, tenant, under_current_configuration
from api.context import BASE_PATH, app_context
from api.directory import Principal
from api.errors import FieldError, Problem, invalid, invalid_field, not_found
from api.limits import add_rate_headers, rate_exceeded
from api.validation import (
    Body,
    Code,
    FreeForm,
    Instant,
    ParticipantId,
    Zone,
    body,
    field_errors,
    parse_json,
    read_body,
    require_type,
)
from api.waiting import Preference, preference
from models import clock, dead_letters, ids, ticks
from models.db import is_away, reading
from models.streaks import Streak
from workers.intake import Accepted, Append, Idempotency, Stale, TickV1

blueprint = Blueprint("ticks", __name__)

BATCH_MAX = 1_000  # contract §2
POLL_SECONDS = 0.02  # for the answer to a tick that another request posted
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9_\-:.]{1,255}", re.ASCII)


class TickBody(Body):
    """One tick as it is posted."""

    participant_id: ParticipantId
    streak_code: Code
    timestamp: Instant | None = None
    timezone: Zone | None = None
    metadata: FreeForm | None = None


# -- one -------------------------------------------------------------------------------------


@blueprint.post("/streaks/record")
def record() -> Response:
    """Record one tick and wait for the worker, as far as the caller prefers."""
    context = app_context()
    posted, wish = body(TickBody), preference(context.settings.wait_seconds)
    key = _idempotency(posted)
    with context.waiters.place() if wish.wait_seconds else nullcontext(True) as may_wait:
        wish = wish if may_wait else wish.without_wait()
        is_awaited = wish.wait_seconds > 0
        tick, accepted = under_current_configuration(
            lambda who: _accept(who, posted, key, is_awaited)
        )
        add_rate_headers(principal().tenant, accepted.tokens)
        result = _result(tick.id, accepted, wish.wait_seconds)
    return _answer(accepted.known_id or tick.id, result, wish)


def _accept(
    who: Principal, posted: TickBody, key: Idempotency | None, is_awaited: bool
) -> tuple[TickV1, Accepted]:
    received_us = clock.now_us()
    tick_id = str(next(ids.issue(received_us, who.tenant.tick_secret)))
    try:
        tick = _message(who, posted, received_us, (tick_id, is_awaited))
    except _NoSuchStreak:
        _confirm(who)
        raise
    accepted = app_context().intake.append(_append(who, [tick], key))
    if accepted.tokens and not accepted.tokens[0].is_accepted:
        raise rate_exceeded(who.tenant, accepted.tokens[0])
    return tick, accepted


def _append(who: Principal, messages: Sequence[TickV1], key: Idempotency | None) -> Append:
    return Append(
        who.tenant.id, who.version, who.tenant.participant_writes_per_minute, messages, key
    )


def _message(who: Principal, posted: TickBody, received_us: int, stamp: tuple[str, bool]) -> TickV1:
    """The message of a tick, checked against the definition and the clock."""
    streak = _streak(who, posted.streak_code)
    occurred_us = received_us if posted.timestamp is None else posted.timestamp
    _check_range(occurred_us, received_us)
    tick_id, is_awaited = stamp
    return TickV1(
        who.tenant.id,
        tick_id,
        posted.participant_id,
        streak.id,
        occurred_us,
        posted.timezone,
        posted.metadata,
        is_awaited,
    )


def _streak(who: Principal, code: str) -> Streak:
    streak = who.streaks.get(code)
    if streak is not None and streak.is_active:
        return streak
    raise _NoSuchStreak(code)


class _NoSuchStreak(Problem):
    """Unknown or paused, as far as the cached configuration knows."""

    def __init__(self, code: str) -> None:
        problem = not_found("streak", code)
        super().__init__(problem.status, problem.code, problem.detail)


def _confirm(who: Principal) -> None:
    """Raise Stale unless the configuration that a refusal rests on is still the latest."""
    if not is_current(who):
        raise Stale


def _check_range(occurred_us: int, now_us: int) -> None:
    settings = app_context().settings
    newest = now_us + settings.tick_ahead_hours_max * HOUR_US
    oldest = now_us - settings.tick_age_days_max * DAY_US
    if not oldest <= occurred_us <= newest:
        detail = (
            f"timestamp must lie between {settings.tick_age_days_max} days ago"
            f" and {settings.tick_ahead_hours_max} hours ahead"
        )
        error = FieldError("timestamp", "timestamp_out_of_range", detail)
        raise Problem(422, "timestamp_out_of_range", detail, [error])


def _idempotency(posted: TickBody) -> Idempotency | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        message = "must be 1 to 255 of A-Z a-z 0-9 _ - : ."
        raise invalid_field("Idempotency-Key", "string_pattern_mismatch", message)
    return Idempotency(key, hashlib.sha256(repr(posted).encode()).hexdigest())


def _result(tick_id: str, accepted: Accepted, seconds: float) -> dict[str, Any] | None:
    """The worker's answer within the wait, or None."""
    if not seconds:
        return None
    if accepted.known_id:
        return _result_of_known(accepted.known_id, seconds)
    if accepted.ahead > app_context().settings.wait_backlog_max:
        return None
    return app_context().intake.wait(tick_id, seconds)


def _result_of_known(tick_id: str, seconds: float) -> dict[str, Any] | None:
    """The answer first given under this Idempotency-Key, from the ledger."""
    ends = time.monotonic() + seconds
    while True:
        try:
            with reading(app_context().engine) as session:
                found = ticks.find(session, tenant().id, UUID(tick_id))
        except Exception as error:
            if not is_away(error):
                raise
            return None  # accepted all the same: the caller says 202
        if found is not None or time.monotonic() >= ends:
            return found.answer() if found else None
        time.sleep(POLL_SECONDS)


def _answer(tick_id: str, result: dict[str, Any] | None, wish: Preference) -> Response:
    applied = wish.applied(is_answered=result is not None)
    headers = {"Preference-Applied": applied} if applied else {}
    if result is not None:
        return answer(result, 200, headers)
    headers["Location"] = status_url = f"{BASE_PATH}/ticks/{tick_id}"
    accepted = {"tick_id": tick_id, "status": "accepted", "status_url": status_url}
    return answer(accepted, 202, headers)


# -- many ------------------------------------------------------------------------------------

Outcome = TickV1 | Problem


@dataclass(frozen=True, slots=True)
class _Items:
    """What a batch posted: each a value to validate, or why it could not be read."""

    values: list[Any]


@blueprint.post("/streaks/record/batch")
def record_batch() -> Response:
    """Accept up to 1,000 ticks; each stands for itself."""
    items = _items()
    outcomes, accepted = under_current_configuration(lambda who: _accept_batch(who, items))
    results = list(_results(outcomes, accepted))
    rejected = sum("error" in result for result in results)
    counts = {"accepted": len(results) - rejected, "rejected": rejected}
    return answer({"results": results} | counts, 202)


def _items() -> _Items:
    kind = require_type("application/json", "application/x-ndjson")
    raw = read_body()
    if kind == "application/x-ndjson":
        values: Any = [_line(line) for line in raw.splitlines() if line.strip()]
    else:
        document = parse_json(raw)
        values = document.get("ticks") if isinstance(document, dict) else None
        if not isinstance(values, list):
            raise invalid_field("ticks", "list_type", "must be a list of ticks")
    if not 1 <= len(values) <= BATCH_MAX:
        raise invalid_field("ticks", "list_length", f"must hold 1 to {BATCH_MAX} ticks")
    return _Items(values)


def _line(line: bytes) -> Any:
    try:
        return parse_json(line)
    except Problem as problem:
        return problem


def _accept_batch(who: Principal, items: _Items) -> tuple[list[Outcome], Accepted]:
    received_us = clock.now_us()
    issued = ids.issue(received_us, who.tenant.tick_secret, len(items.values))
    outcomes = [
        _outcome(who, value, received_us, str(tick_id))
        for value, tick_id in zip(items.values, issued, strict=True)
    ]
    if any(isinstance(one, _NoSuchStreak) for one in outcomes):
        _confirm(who)
    messages = [one for one in outcomes if isinstance(one, TickV1)]
    if not messages:
        return outcomes, Accepted([], 0)
    return outcomes, app_context().intake.append(_append(who, messages, None))


def _outcome(who: Principal, value: Any, received_us: int, tick_id: str) -> Outcome:
    if isinstance(value, Problem):
        return value
    try:
        posted = TickBody.model_validate(value)
        return _message(who, posted, received_us, (tick_id, False))
    except ModelError as error:
        return invalid(*field_errors(error))
    except Problem as problem:
        return problem


def _results(outcomes: Sequence[Outcome], accepted: Accepted) -> Iterator[dict[str, Any]]:
    """One entry per item in order: its id, or what was wrong with it."""
    tokens = iter(accepted.tokens)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Problem):
            yield {"index": index, "error": outcome.as_item()}
            continue
        token = next(tokens)
        if token.is_accepted:
            yield {"index": index, "tick_id": outcome.id}
        else:
            yield {"index": index, "error": rate_exceeded(tenant(), token).as_item()}


# -- what became of one ----------------------------------------------------------------------


@blueprint.get("/ticks/<tick_id>")
def get_tick(tick_id: str) -> Response:
    """`applied` with the result, `dead`, or `accepted` and on its way."""
    number = _uuid(tick_id)
    with reading(app_context().engine) as session:
        found = ticks.find(session, tenant().id, number)
        letter = None if found else dead_letters.find(session, tenant().id, number)
    if found:
        return answer({"tick_id": tick_id, "status": "applied", "result": found.answer()})
    if letter:
        return answer({"tick_id": tick_id, "status": "dead", "result": None})
    if not (ids.is_issued(number, tenant().tick_secret) and _is_kept(number)):
        raise not_found("tick", tick_id)
    return answer({"tick_id": tick_id, "status": "accepted", "result": None})


def _is_kept(number: UUID) -> bool:
    """Whether the ledger still holds the ticks of that day: an older one is not on its way."""
    age_us = clock.now_us() - ids.issued_at_us(number)
    return age_us < app_context().settings.ticks_days * DAY_US


def _uuid(text: str) -> UUID:
    try:
        number = UUID(text)
    except ValueError:
        raise not_found("tick", text) from None
    if str(number) != text:
        raise not_found("tick", text)
    return number
