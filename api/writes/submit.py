"""Queued writes: accept one of any kind under current configuration, and wait for the worker.

What a kind adds: what is posted, the message that it becomes, and the ledger that it ends in.
Many at once are batches.py, what became of one is outcomes.py (contract §2).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from flask import Flask, Response, g

from api.http.auth import is_current, principal, under_current_configuration
from api.http.describe import Parameter
from api.http.key_cache import Principal
from api.http.prefer import Preference, preference
from api.http.problems import CODES, Problem, not_found, outcome_unknown, unavailable
from api.http.rate_limits import RATE_LIMIT_CODES, rate_exceeded
from api.http.request_context import BASE_PATH, EXTENSION, app_context, this_request
from api.http.responses import answer
from api.input.validation import Body, body
from api.writes import enqueue, status
from api.writes.status import WriteLedger
from models import clock, ids
from workers.intake.client import Accepted, Caps, Idempotency, Message, Refusal, Stale

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


class Posted(Protocol):
    """The body of a write of any kind."""

    @property
    def participant_id(self) -> str:
        """Whom it is for."""


@dataclass(frozen=True, slots=True)
class WriteStamp:
    """What the API gives a write when it takes it in."""

    id: str
    received_us: int
    is_awaited: bool
    is_silent: bool = False
    is_alone: bool = False  # nothing follows from it


@dataclass(frozen=True, slots=True)
class QueuedWrite:
    """A kind of queued write."""

    ledger: WriteLedger
    body: type[Body]
    # Raises Problem; NoSuchDefinition where a cached definition is the reason.
    message: Callable[[Principal, Any, WriteStamp], Message]
    may_be_alone: bool = False  # whether a batch may ask that nothing follows


class NoSuchDefinition(Problem):
    """Unknown or not active, as far as the cached configuration knows."""

    def __init__(self, noun: str, code: str) -> None:
        problem = not_found(noun, code)
        super().__init__(problem.status, problem.code, problem.detail)


@dataclass(frozen=True, slots=True)
class _Write:
    kind: QueuedWrite
    posted: Posted
    idempotency: Idempotency | None
    is_awaited: bool


B = TypeVar("B", bound=Body)


def read(model: type[B]) -> B:
    """The body of a write, unless it is certain to be refused whatever it is."""
    enqueue.check_write(principal())
    return body(model)


def post(kind: QueuedWrite, posted: Posted, idempotency: Idempotency | None = None) -> Response:
    """Accept one write and wait for the worker, as far as the caller prefers."""
    context, g.participant_id = app_context(), posted.participant_id
    wish = preference(this_request().environ.get("HTTP_PREFER", ""), context.settings.wait_seconds)
    with context.waiters.slot() if wish.wait_seconds else nullcontext(True) as may_wait:
        wish = wish if may_wait else wish.without_wait()
        write = _Write(kind, posted, idempotency, wish.wait_seconds > 0)
        message, accepted = under_current_configuration(lambda caller: _accept(caller, write))
        if accepted.known_id:
            refuse_erased(accepted.known_id, posted.participant_id)
        result = _result(kind, message.id, accepted, wish.wait_seconds)
    if result is not None and "rejected" in result:
        raise rejected(result["rejected"], posted.participant_id, result.get("detail"))
    return _answer(kind.ledger, accepted.known_id or message.id, result, wish)


def _accept(caller: Principal, write: _Write) -> tuple[Message, Accepted]:
    kind, received_us = write.kind, clock.now_us()
    write_id = str(next(ids.issue(received_us, kind.ledger.secret(caller.tenant))))
    try:
        message = kind.message(
            caller, write.posted, WriteStamp(write_id, received_us, write.is_awaited)
        )
    except NoSuchDefinition:
        confirm(caller)
        raise
    accepted = enqueue.append(caller, [message], write.idempotency)
    if accepted.refused:
        raise refused(accepted.refused[0], caller.caps, message.participant_id)
    return message, accepted


def unwaited(app: Flask) -> Callable[[WSGIEnvironment], bool]:
    """What tells by an environ whether a request is one write, and will not wait for the worker."""
    default_seconds = app.extensions[EXTENSION].settings.wait_seconds
    paths = {rule.rule for rule in app.url_map.iter_rules() if _is_one_write(app, rule)}

    def is_unwaited(environ: WSGIEnvironment) -> bool:
        if environ["PATH_INFO"] not in paths or environ["REQUEST_METHOD"] != "POST":
            return False
        return not preference(environ.get("HTTP_PREFER", ""), default_seconds).wait_seconds

    return is_unwaited


def _is_one_write(app: Flask, rule: Rule) -> bool:
    """Whether a route takes one queued write, and its path is always the same."""
    operation = getattr(app.view_functions[rule.endpoint], "operation", None)
    return operation is not None and PREFER in operation.parameters and not rule.arguments


def refuse_erased(known_id: str, participant_id: str) -> None:
    """409 where the write of this Idempotency-Key went with its participant: nothing is to come."""
    if status.erased_since(known_id, [participant_id]):
        raise rejected("participant_erased", participant_id)


def confirm(caller: Principal) -> None:
    """Raise Stale unless the configuration that a refusal rests on is still the latest."""
    if not is_current(caller):
        raise Stale


def refused(refusal: Refusal, caps: Caps, participant_id: str) -> Problem:
    """Why a write was not let in: over a cap, or for somebody who is not active."""
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
    """Why a worker refused a write: with what it said of it, or the participant's status."""
    if detail is not None:
        return Problem(CODES[code][0] if code in CODES else 409, code, detail)
    why = _REJECTED.get(code, "may not be written for")  # a newer worker may know more codes
    return Problem(409, code, f"Participant '{participant_id}' {why}")


def _result(
    kind: QueuedWrite, write_id: str, accepted: Accepted, seconds: float
) -> dict[str, Any] | None:
    """The worker's answer within the wait, or None."""
    if not seconds:
        return None
    if accepted.known_id:
        return status.wait(kind.ledger, UUID(accepted.known_id), seconds)
    if accepted.ahead > app_context().settings.wait_backlog_max:
        return None
    return app_context().intake.wait(write_id, seconds)


def _answer(
    ledger: WriteLedger, write_id: str, result: dict[str, Any] | None, wish: Preference
) -> Response:
    applied = wish.applied(is_answered=result is not None)
    headers = {"Preference-Applied": applied} if applied else {}
    if result is not None:
        return answer(result, 200, headers)
    headers["Location"] = status_url = f"{BASE_PATH}/{ledger.path}/{write_id}"
    accepted = {ledger.id_field: write_id, "status": "accepted", "status_url": status_url}
    return answer(accepted, 202, headers)
