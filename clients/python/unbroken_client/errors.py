"""The errors of the client, a closed list: one class for each family of the API's codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class UnbrokenError(Exception):
    """The base class of all errors of this client."""


class Unreachable(UnbrokenError):
    """There was no answer. A write with an Idempotency-Key may be sent again safely."""


class NotAnApi(UnbrokenError):
    """The answer is not one of Unbroken: check the URL."""


class QueueFull(UnbrokenError):
    """The queue is full, and no tick left it in time."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field."""

    field: str
    code: str
    message: str


class ApiError(UnbrokenError):
    """The API refused: `status`, its stable `code`, `detail`, `fields` and `request_id`.

    `str()` says the detail, the code, and of each field why it cannot be used.
    """

    def __init__(self, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = int(problem.get("status") or 0)  # 0: of one item of a batch
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        self.request_id: str | None = problem.get("request_id")
        self.retry_after = retry_after  # seconds, when the API names them
        self.fields: Sequence[FieldError] = tuple(
            FieldError(str(one.get("field")), str(one.get("code")), str(one.get("message")))
            for one in problem.get("errors") or ()
        )
        super().__init__(problem, retry_after)  # as given, so that it can be pickled

    def __str__(self) -> str:
        fields = "; ".join(f"{one.field} {one.message}" for one in self.fields)
        return f"{self.detail} ({self.code})" + (f": {fields}" if fields else "")


class BadRequest(ApiError):
    """The request cannot be read or used (400, 405, 408, 413, 415)."""


class Unauthorized(ApiError):
    """The key is missing, unknown, expired or revoked."""


class Forbidden(ApiError):
    """The key lacks the admin scope, or the tenant is disabled."""


class NotFound(ApiError):
    """The named object does not exist, or accepts no writes."""


class Invalid(ApiError):
    """A field is invalid: `fields` names it and the reason."""


class Conflict(ApiError):
    """The request conflicts with the current state, such as a code or key in use."""


class ParticipantRefused(ApiError):
    """The participant is suspended, closed or erased."""


class InsufficientPoints(ApiError):
    """The participant has too few points."""


class RateLimited(ApiError):
    """Too many writes in a minute, for a participant, a key or a tenant."""


class Unavailable(ApiError):
    """The service is overloaded, or Postgres or Redis is unavailable."""


class OutcomeUnknown(Unavailable):
    """The service does not know whether the request was carried out. The client has sent it again
    only if a repeat is safe."""


class ServerFault(ApiError):
    """A fault of the service; `request_id` identifies it in its log."""


_BY_CODE: dict[str, type[ApiError]] = {
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "insufficient_points": InsufficientPoints,
    "participant_inactive": ParticipantRefused,
    "participant_erased": ParticipantRefused,
    "timestamp_out_of_range": Invalid,
    "unknown_field": Invalid,
    "validation_error": Invalid,
    "too_many_failed_keys": RateLimited,
    "overloaded": Unavailable,
    "unavailable": Unavailable,
    "outcome_unknown": OutcomeUnknown,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict,
    422: Invalid, 429: RateLimited, 503: Unavailable,
}  # fmt: skip


def family(code: str, status: int = 0) -> type[ApiError]:
    """The class of a code; by the status where a newer service knows more codes. Pure."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code.startswith("RATE_LIMIT_"):
        return RateLimited
    if code.endswith("_not_found"):
        return NotFound
    if code.endswith("_conflict"):
        return Conflict
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ServerFault if status >= 500 else BadRequest


def problem_error(problem: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """A problem document, or the error of an item of a batch, as an exception. Pure."""
    kind = family(str(problem.get("code", "")), int(problem.get("status") or 0))
    return kind(problem, retry_after)
