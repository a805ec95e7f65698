"""At the door of the workers: hand writes over; a refusal there is never given from memory alone.

Redis says quickly whose writes are refused. Whoever was made active again, or erased, by a process
that died before it could tell Redis, would stay out for ever: so the database has the last word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from api.http import access_log
from api.http.key_cache import Principal
from api.http.rate_limits import show_rate
from api.http.request_context import app_context, this_request
from api.http.tenant_session import reading
from api.input.validation import BODY_BYTES_MAX
from models.db import DatabaseUnavailable
from models.people import profile
from workers.intake.client import (
    Accepted,
    Append,
    Full,
    Idempotency,
    IdempotencyConflict,
    IntakeError,
    Message,
    OutcomeUnknown,
    Unavailable,
)
from workers.intake.messages import noun
from workers.telemetry import metrics_store
from workers.telemetry.metrics import ACCEPTED, REFUSED


def append(
    caller: Principal, messages: Sequence[Message], idempotency: Idempotency | None = None
) -> Accepted:
    """Hand messages over; the response will say how the caps stand then.

    Raises what Intake.append does.
    """
    accepted = _append(caller, messages, idempotency)
    if not accepted.refused:
        return accepted
    wrongly = _wrongly_refused(caller, messages, accepted)
    if not wrongly:
        return accepted
    if idempotency and len(accepted.refused) < len(messages):
        # Its key is taken, for what was accepted: the others may come again under another.
        doubtful = {index: replace(accepted.refused[index], reason="doubtful") for index in wrongly}
        return replace(accepted, refused={**accepted.refused, **doubtful})
    try:
        again = _append(caller, [messages[index] for index in wrongly], idempotency)
    except OutcomeUnknown:
        unknown = {index: replace(accepted.refused[index], reason="unknown") for index in wrongly}
        return replace(accepted, refused={**accepted.refused, **unknown})
    except IntakeError:
        return accepted  # the others are in: once more, and they would be in twice
    refused = {index: one for index, one in accepted.refused.items() if index not in wrongly}
    refused |= {wrongly[index]: one for index, one in again.refused.items()}
    return replace(again, ahead=accepted.ahead, refused=refused)


def _append(
    caller: Principal, messages: Sequence[Message], idempotency: Idempotency | None
) -> Accepted:
    request = Append(
        caller.tenant.id, caller.version, caller.caps, messages, caller.key.id, idempotency
    )
    context = app_context()
    context.memory.ask()
    began = context.memory.now()
    try:
        accepted = context.intake.append(request)
    except (Unavailable, OutcomeUnknown):
        context.memory.away(began)
        metrics_store.add(REFUSED, len(messages), "unavailable")
        raise
    except IntakeError as refusal:
        context.memory.answered()
        if (reason := _REASONS.get(type(refusal))) is not None:
            metrics_store.add(REFUSED, len(messages), reason)
        _note(caller, refusal)
        raise
    context.memory.answered()
    _count(messages, accepted)
    show_rate(accepted.rate)
    return accepted


_REASONS: dict[type, str] = {Full: "full", IdempotencyConflict: "idempotency_conflict"}


def _count(messages: Sequence[Message], accepted: Accepted) -> None:
    """Count what was taken in and what was not. A write that is known already is neither."""
    if accepted.known_id is not None:
        return
    taken = messages
    if accepted.refused:
        metrics_store.add_each(REFUSED, Counter(one.reason for one in accepted.refused.values()))
        taken = [message for index, message in enumerate(messages) if index not in accepted.refused]
    if taken:
        metrics_store.add(
            ACCEPTED, len(taken), noun(taken[0])
        )  # one request brings writes of one kind
        access_log.took_in(taken)


def _note(caller: Principal, refusal: IntakeError) -> None:
    match refusal:
        case Full():
            body_bytes = this_request().content_length or BODY_BYTES_MAX
            app_context().memory.full(caller.tenant.id, body_bytes)
        case IdempotencyConflict():
            show_rate(refusal.rate)


def _wrongly_refused(
    caller: Principal, messages: Sequence[Message], accepted: Accepted
) -> list[int]:
    """The places of messages for participants who are active after all, as Redis now knows."""
    indexes = [index for index, one in accepted.refused.items() if one.reason == "inactive"]
    names = {messages[index].participant_id for index in indexes}
    if not names:
        return []
    context = app_context()
    try:
        with reading() as connection:
            active = names - profile.suspended(connection, caller.tenant.id, names)
        for name in active:
            context.intake.mark(caller.tenant.id, name, is_active=True)
    except IntakeError:
        return []
    except DatabaseUnavailable:
        return []  # refused, as far as anybody can tell now
    return [index for index in indexes if messages[index].participant_id in active]


def check_write(caller: Principal) -> None:
    """Raise Full or Unavailable when this request's write is certain to be refused: before its body
    is parsed, but not before it is read."""
    memory = app_context().memory
    if memory.is_empty:
        return
    try:
        memory.check(caller.tenant.id, this_request().content_length or 0)
    except IntakeError:
        take_in()
        raise


def take_in() -> None:
    """Read what the caller of this request still sends, so that it reads our refusal: a connection
    that is closed with bytes unread is reset."""
    this_request().stream.read(BODY_BYTES_MAX)
