"""Errors as RFC 9457 problem documents: a closed list of codes that clients may switch on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RETRY_SECONDS = 1  # when overloaded or unavailable: the sweep runs every second

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


# Every code that may be answered: its status, and what it means to the caller. Clients switch on
# codes: none of them is renamed, and none is answered that is not here.
CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read as HTTP."),
    "invalid_path": (400, "The path is not UTF-8 or holds control characters."),
    "invalid_json": (400, "The body is not valid JSON in UTF-8."),
    "invalid_encoding": (400, "The body is not valid gzip, though its header says so."),
    "invalid_include": (400, "`include` names an unknown section; the detail lists those known."),
    "no_fields_to_update": (400, "The change names no field that can be changed."),
    "streak_code_conflict": (400, "A streak with this code exists, perhaps deactivated."),
    "badge_code_conflict": (400, "A badge with this code exists, perhaps deactivated."),
    "tier_code_conflict": (400, "A tier with this code exists, perhaps deactivated."),
    "tier_level_conflict": (400, "Another active tier has this level."),
    "reward_code_conflict": (400, "A reward with this code exists, perhaps deactivated."),
    "challenge_code_conflict": (400, "A challenge with this code exists, perhaps deactivated."),
    "insufficient_points": (400, "The participant has fewer points than that. None were taken."),
    "leaderboard_code_conflict": (400, "A leaderboard with this code exists, perhaps inactive."),
    "leaderboard_limit_reached": (400, "The tenant has as many leaderboards as it may have."),
    "webhook_limit_reached": (400, "The tenant has as many destinations as it may have."),
    "unauthorized": (401, "No key, two different keys, or an unknown, expired or revoked one."),
    "forbidden": (403, "The tenant is disabled, or the key lacks the admin scope."),
    "route_not_found": (404, "There is no such path."),
    "streak_not_found": (404, "There is no such streak, or (for writes) it is deactivated."),
    "badge_not_found": (404, "There is no such badge, or (for writes) it is deactivated."),
    "participant_not_found": (404, "Nobody with this id was ever seen."),
    "program_not_found": (404, "There is no such program, or (to enrol in) it is deactivated."),
    "webhook_not_found": (404, "There is no such destination."),
    "delivery_not_found": (404, "There is no such fact, or it was never to be delivered here."),
    "replay_not_found": (404, "This destination has no such replay."),
    "dead_letter_not_found": (404, "There is no such dead letter."),
    "tick_not_found": (404, "No tick has this id, or it went with its day or its participant."),
    "award_not_found": (404, "No award has this id, or it went with its day or its participant."),
    "tier_not_found": (404, "There is no such tier, or (to assign) it is deactivated."),
    "challenge_not_found": (404, "There is no such challenge."),
    "leaderboard_not_found": (404, "There is no such leaderboard, or it is deactivated."),
    "reward_not_found": (404, "There is no such reward, or (to claim) it is deactivated."),
    "transaction_not_found": (404, "No such transaction, or its participant was erased."),
    "assignment_not_found": (404, "No assignment has this id, or its participant was erased."),
    "claim_not_found": (404, "No claim has this id, or its participant was erased."),
    "method_not_allowed": (405, "The path exists; `Allow` lists what can be done with it."),
    "body_too_slow": (408, "The body did not come within 10 s."),
    "balance_conflict": (409, "This participant's balance was opened before, with other totals."),
    "idempotency_conflict": (409, "This Idempotency-Key was first used with another body."),
    "webhook_disabled": (409, "The destination is disabled: nothing is sent there."),
    "replay_limit_reached": (409, "The tenant has as many replays running as it may have."),
    "dead_letter_discarded": (409, "The dead letter was given up: it is not tried again."),
    "dead_letter_replayed": (409, "The dead letter was replayed: it cannot be given up any more."),
    "dead_letter_unreadable": (409, "This release cannot read the dead letter."),
    "reward_not_open": (409, "The reward cannot be claimed yet, or not any more."),
    "reward_out_of_stock": (409, "All of this reward are gone. No points were taken."),
    "reward_limit_reached": (409, "The participant has as many of this reward as it may have."),
    "participant_inactive": (409, "The participant is suspended or closed: writes are refused."),
    "participant_erased": (409, "The participant was erased after this write was accepted."),
    "body_too_large": (413, "The body is larger than 1 MB, perhaps once inflated."),
    "unsupported_media_type": (415, "Send the content type and encoding that the detail names."),
    "validation_error": (422, "A field or parameter cannot be used: `errors` says which and why."),
    "unknown_field": (422, "The request has fields or parameters that are not known here."),
    "timestamp_out_of_range": (422, "The tick lies too far ahead or too long ago."),
    "RATE_LIMIT_PARTICIPANT_EXCEEDED": (429, "Too many writes a minute for this participant."),
    "RATE_LIMIT_KEY_EXCEEDED": (429, "Too many writes a minute with this key."),
    "RATE_LIMIT_TENANT_EXCEEDED": (429, "Too many writes a minute for this tenant."),
    "too_many_failed_keys": (429, "Too many unknown keys came from this address."),
    "internal_error": (500, "A fault of ours; `request_id` finds it in the log."),
    "overloaded": (503, "More writes wait than can be taken. Nothing was accepted: try again."),
    "unavailable": (503, "A server this needs is away. Nothing was kept: try again."),
    "outcome_unknown": (503, "A server did not answer: the request may have been carried out."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field: which, a stable code, and what to do. The input is not echoed."""

    field: str
    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """As it stands in `errors[]`."""
        return {"field": self.field, "code": self.code, "message": self.message}


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = list(errors), headers or {}

    def as_item(self) -> dict[str, Any]:
        """As it stands beside one item of a batch."""
        return {
            "code": self.code,
            "detail": self.detail,
            "errors": [error.as_json() for error in self.errors],
        }


def invalid(*errors: FieldError) -> Problem:
    """422: fields that cannot be used."""
    names = ", ".join(dict.fromkeys(error.field for error in errors))
    return Problem(422, "validation_error", f"Invalid: {names}", errors)


def invalid_field(field: str, code: str, message: str) -> Problem:
    """422: one field that cannot be used."""
    return invalid(FieldError(field, code, message))


def not_found(noun: str, name: str) -> Problem:
    """404 with the documented detail: `Badge 'x' not found`."""
    said = noun.replace("_", " ").capitalize()
    return Problem(404, f"{noun}_not_found", f"{said} '{name}' not found")


def unavailable() -> Problem:
    """503: Redis or Postgres does not answer; nothing was kept, and nothing is later."""
    detail = "A server this needs is not answering. Nothing was kept; try again."
    return try_again("unavailable", detail)


def outcome_unknown(detail: str = "") -> Problem:
    """503: Redis or Postgres was sent all of it and did not answer; perhaps it was kept."""
    return try_again(
        "outcome_unknown",
        detail
        or "A server stopped answering in the middle: this request may have been carried out. Sent"
        " again with the same Idempotency-Key it has no second effect, nor has an award of a badge"
        " or anything but a POST. Without a key, look first whether it is there.",
    )


def try_again(code: str, detail: str) -> Problem:
    """503 with the seconds after which to try again."""
    return Problem(503, code, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def document(problem: Problem, request_id: str | None) -> dict[str, Any]:
    """What a problem is answered with (RFC 9457)."""
    found: dict[str, Any] = {
        "type": f"urn:unbroken:error:{problem.code}",
        "title": TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        found["errors"] = [error.as_json() for error in problem.errors]
    return found
