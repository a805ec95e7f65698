"""One queued write: from the route to the intake, and back to the caller.

A route reads the body, makes the message that the workers apply, submits it, and answers:

    posted = read(TickBody)
    with waiting(posted.participant_id) as wish:
        tick = _message(principal(), posted, stamp(LEDGER, wish))
        accepted = submit(tick, idempotency("", posted))
        return outcome(LEDGER, tick, accepted, wish)

Batches are in batch.py, the status of a write is in status.py (contract §2).

Redis knows quickly which participants' writes are refused, but may be out of date: a process that
reactivates a participant can die before it updates Redis. So the database decides last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import UUID

from flask import Flask, Response, g

from api.http import access_log
from api.http.auth import STALE_TRIES_MAX, is_current, principal, read_principal_again
from api.http.describe import Parameter
from api.http.key_cache import Principal
from api.http.prefer import Preference, preference
from api.http.problems import CODES, Problem, not_found, outcome_unknown, unavailable
from api.http.rate_limits import RATE_LIMIT_CODES, rate_exceeded, show_rate
from api.http.request_context import BASE_PATH, EXTENSION, app_context, this_request
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.validation import BODY_BYTES_MAX, Body, json_body, validated
from api.writes import status
from api.writes.status import WriteLedger
from models import clock, ids
from models.db import DatabaseUnavailable
from models.people import profile
from workers.intake.client import (
    Accepted,
    Append,
    Caps,
    Full,
    Idempotency,
    IdempotencyConflict,
    IntakeError,
    Message,
    OutcomeUnknown,
    Refusal,
    Stale,
    Unavailable,
)
from workers.intake.messages import noun
from workers.telemetry import metrics_store
from workers.telemetry.metrics import ACCEPTED, REFUSED

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.routing import Rule

PREFER = Parameter(
    "Prefer",
    {"type": "string", "examples": ["respond-async", "wait=5"]},
    "`respond-async`: 202 at once. `wait=N`: wait for the worker up to N seconds, at most 10.",
    where="header",
)
PROBLEMS = ("participant_inactive", "participant_erased", *RATE_LIMIT_CODES)


@dataclass(frozen=True, slots=True)
class WriteStamp:
    """What the API adds to a write when it accepts it."""

    id: str
    received_us: int
    is_awaited: bool
    is_silent: bool = False
    is_alone: bool = False  # no rewards or other effects follow


@dataclass(frozen=True, slots=True)
class QueuedWrite:
    """A kind of queued write."""

    ledger: WriteLedger
    body: type[Body]
    # Raises Problem; NoSuchDefinition where a cached definition is the reason.
    message: Callable[[Principal, Any, WriteStamp], Message]
    may_be_alone: bool = False  # whether a batch may ask for no effects


class NoSuchDefinition(Problem):
    """Unknown or inactive, according to the cached configuration."""

    def __init__(self, noun: str, code: str) -> None:
        problem = not_found(noun, code)
        super().__init__(problem.status, problem.code, problem.detail)


P = ParamSpec("P")
B = TypeVar("B", bound=Body)


def on_current_configuration(view: Callable[P, Response]) -> Callable[P, Response]:
    """Run the view of a write. Run it again on the current configuration if it was checked under an
    older version, or refused for a definition that exists by now."""

    @wraps(view)
    def current(*args: P.args, **kwargs: P.kwargs) -> Response:
        for _ in range(STALE_TRIES_MAX):
            try:
                return view(*args, **kwargs)
            except NoSuchDefinition:
                if is_current(principal()):
                    raise
            except Stale:
                pass
            read_principal_again()
        raise unavailable() from Unavailable()

    return current


def read(model: type[B]) -> B:
    """The body of a write. Raises first if the write is certain to be refused."""
    if not app_context().memory.is_empty:
        check_write(principal())
    return validated(model, json_body())


@contextmanager
def waiting(participant_id: str) -> Iterator[Preference]:
    """How long the caller waits for the worker: its preference, if a waiting slot is free."""
    context, g.participant_id = app_context(), participant_id
    wish = preference(this_request().environ.get("HTTP_PREFER", ""), context.settings.wait_seconds)
    if not wish.wait_seconds:
        yield wish
        return
    with context.waiters.slot() as may_wait:
        yield wish if may_wait else wish.without_wait()


def stamp(ledger: WriteLedger, wish: Preference) -> WriteStamp:
    """The id and the instant of a new write."""
    received_us = clock.now_us()
    write_id = next(ids.issue(received_us, principal().tenant.secret_of_ids(ledger.salt)))
    return WriteStamp(str(write_id), received_us, wish.wait_seconds > 0)


def submit(message: Message, idempotency: Idempotency | None = None) -> Accepted:
    """Append one write to the intake. When this returns the write is accepted and will be applied.

    Raises Problem if it is refused, and whatever Intake.append raises.
    """
    caller = principal()
    accepted = hand_over(caller, [message], idempotency)
    if accepted.refused:
        raise refused(accepted.refused[0], caller.caps, message.participant_id)
    if accepted.known_id and status.erased_since(accepted.known_id, [message.participant_id]):
        raise rejected("participant_erased", message.participant_id)  # never applied
    return accepted


def unwaited(app: Flask) -> Callable[[WSGIEnvironment], bool]:
    """A check by environ: is the request a single write that does not wait for the worker?"""
    default_seconds = app.extensions[EXTENSION].settings.wait_seconds
    paths = {rule.rule for rule in app.url_map.iter_rules() if _is_one_write(app, rule)}

    def is_unwaited(environ: WSGIEnvironment) -> bool:
        if environ["PATH_INFO"] not in paths or environ["REQUEST_METHOD"] != "POST":
            return False
        return not preference(environ.get("HTTP_PREFER", ""), default_seconds).wait_seconds

    return is_unwaited


def _is_one_write(app: Flask, rule: Rule) -> bool:
    """Whether a route accepts one queued write and has no parameters in its path."""
    operation = getattr(app.view_functions[rule.endpoint], "operation", None)
    return operation is not None and PREFER in operation.parameters and not rule.arguments


def outcome(
    ledger: WriteLedger, message: Message, accepted: Accepted, wish: Preference
) -> Response:
    """200 with the worker's answer if it came in time; otherwise 202 with the status path."""
    write_id, result = accepted.known_id or message.id, None
    if wish.wait_seconds and accepted.known_id:
        result = status.wait(ledger, UUID(accepted.known_id), wish.wait_seconds)
    elif wish.wait_seconds and accepted.ahead <= app_context().settings.wait_backlog_max:
        result = app_context().intake.wait(write_id, wish.wait_seconds)
    if result is not None and "rejected" in result:
        raise rejected(result["rejected"], message.participant_id, result.get("detail"))
    headers: dict[str, str] = {}
    if (wish.is_async or wish.is_wait_named) and (
        applied := wish.applied(is_answered=result is not None)
    ):
        headers["Preference-Applied"] = applied
    if result is not None:
        return answer(result, 200, headers)
    headers["Location"] = status_url = f"{BASE_PATH}/{ledger.path}/{write_id}"
    accepted_body = {ledger.id_field: write_id, "status": "accepted", "status_url": status_url}
    return answer(accepted_body, 202, headers)


def confirm(caller: Principal) -> None:
    """Raise Stale unless the configuration behind a refusal is still the latest."""
    if not is_current(caller):
        raise Stale


def refused(refusal: Refusal, caps: Caps, participant_id: str) -> Problem:
    """Why a write was refused: over a cap, or for a participant who is not active."""
    if refusal.reason == "doubtful":
        return unavailable()
    if refusal.reason == "unknown":
        return outcome_unknown()
    if refusal.reason == "inactive":
        return rejected("participant_inactive", participant_id)
    return rate_exceeded(caps, refusal)


_REJECTED = {
    "participant_inactive": "is not active: writes are taken once its status is ACTIVE",
    "participant_erased": "was erased after this write was accepted",
}


def rejected(code: str, participant_id: str, detail: str | None = None) -> Problem:
    """The problem of a rejected write, with the worker's detail or the participant's status."""
    if detail is not None:
        return Problem(CODES[code][0] if code in CODES else 409, code, detail)
    why = _REJECTED.get(code, "may not be written for")  # a newer worker may send other codes
    return Problem(409, code, f"Participant '{participant_id}' {why}")


# -- to the intake ----------------------------------------------------------------------------


def hand_over(
    caller: Principal, messages: Sequence[Message], idempotency: Idempotency | None = None
) -> Accepted:
    """Append messages; the response will show the caps after that.

    Raises what Intake.append raises.
    """
    accepted = _append(caller, messages, idempotency)
    if not accepted.refused:
        return accepted
    wrongly = _wrongly_refused(caller, messages, accepted)
    if not wrongly:
        return accepted
    if idempotency and len(accepted.refused) < len(messages):
        # The key covers what was accepted; the other items may come again under another key.
        doubtful = {index: replace(accepted.refused[index], reason="doubtful") for index in wrongly}
        return replace(accepted, refused={**accepted.refused, **doubtful})
    try:
        again = _append(caller, [messages[index] for index in wrongly], idempotency)
    except OutcomeUnknown:
        unknown = {index: replace(accepted.refused[index], reason="unknown") for index in wrongly}
        return replace(accepted, refused={**accepted.refused, **unknown})
    except IntakeError:
        return accepted  # the accepted ones must not be appended twice
    refused = {
        index: refusal for index, refusal in accepted.refused.items() if index not in wrongly
    }
    refused |= {wrongly[index]: refusal for index, refusal in again.refused.items()}
    return replace(again, ahead=accepted.ahead, refused=refused)


def _append(
    caller: Principal, messages: Sequence[Message], idempotency: Idempotency | None
) -> Accepted:
    request = Append(
        caller.tenant.id, caller.version, caller.caps, messages, caller.key.id, idempotency
    )
    context = app_context()
    if not context.memory.is_empty:
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
    if not context.memory.is_empty:
        context.memory.answered()
    _count(messages, accepted)
    if accepted.rate is not None:
        show_rate(accepted.rate)
    return accepted


_REASONS: dict[type, str] = {Full: "full", IdempotencyConflict: "idempotency_conflict"}


def _count(messages: Sequence[Message], accepted: Accepted) -> None:
    """Count accepted and refused writes. A write that is already known is neither."""
    if accepted.known_id is not None:
        return
    taken = messages
    if accepted.refused:
        metrics_store.add_each(
            REFUSED, Counter(refusal.reason for refusal in accepted.refused.values())
        )
        taken = [message for index, message in enumerate(messages) if index not in accepted.refused]
    if taken:
        metrics_store.add(
            ACCEPTED, len(taken), noun(taken[0])
        )  # all writes of a request have the same kind
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
    """Indexes of the messages for participants who are active after all; Redis is updated."""
    indexes = [index for index, refusal in accepted.refused.items() if refusal.reason == "inactive"]
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
        return []  # the refusals stay as they are
    return [index for index in indexes if messages[index].participant_id in active]


def check_write(caller: Principal) -> None:
    """Raise Full or Unavailable if this request's write is certain to be refused: after its body is
    read, before it is parsed."""
    memory = app_context().memory
    try:
        memory.check(caller.tenant.id, this_request().content_length or 0)
    except IntakeError:
        take_in()
        raise


def take_in() -> None:
    """Read the rest of the body before a refusal: closing a connection with unread bytes resets it,
    and the caller misses the answer."""
    this_request().stream.read(BODY_BYTES_MAX)
