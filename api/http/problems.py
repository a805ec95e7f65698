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


# Every error code: its status and its meaning for the caller. Clients switch on codes: no code is
# renamed, and no other code is answered.
CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read as HTTP."),
    "invalid_path": (400, "The path is not UTF-8 or holds control characters."),
    "invalid_json": (400, "The body is not valid JSON in UTF-8."),
    "invalid_encoding": (400, "`Content-Encoding` says gzip, but the body is not valid gzip."),
    "invalid_include": (400, "`include` names an unknown section; the detail lists the known."),
    "no_fields_to_update": (400, "The body contains no field that can be changed."),
    "streak_code_conflict": (400, "A streak with this code exists; it may be paused."),
    "badge_code_conflict": (400, "A badge with this code exists; it may be inactive."),
    "tier_code_conflict": (400, "A tier with this code exists; it may be inactive."),
    "tier_level_conflict": (400, "Another active tier has this level."),
    "reward_code_conflict": (400, "A reward with this code exists; it may be inactive."),
    "challenge_code_conflict": (400, "A challenge with this code exists; it may be inactive."),
    "insufficient_points": (400, "The participant has too few points. No points were taken."),
    "leaderboard_code_conflict": (400, "A leaderboard with this code exists; it may be inactive."),
    "calendar_code_conflict": (400, "A calendar with this code exists; it may be inactive."),
    "leaderboard_limit_reached": (400, "The tenant has the maximum number of leaderboards."),
    "outage_limit_reached": (400, "The tenant has the maximum number of outages."),
    "webhook_limit_reached": (400, "The tenant has the maximum number of destinations."),
    "unauthorized": (401, "The key is missing, unknown, expired or revoked, or there are two."),
    "forbidden": (403, "The tenant is disabled, or the key lacks the admin scope."),
    "route_not_found": (404, "This path does not exist."),
    "streak_not_found": (404, "No streak has this code, or (for writes) it is paused."),
    "badge_not_found": (404, "No badge has this id or code, or (for writes) it is inactive."),
    "participant_not_found": (404, "No participant has this id."),
    "outage_not_found": (404, "No outage has this id."),
    "program_not_found": (404, "No program has this name, or (for enrolment) it is inactive."),
    "webhook_not_found": (404, "No destination has this id."),
    "delivery_not_found": (404, "No fact has this id, or it has no delivery to this destination."),
    "replay_not_found": (404, "This destination has no replay with this id."),
    "restore_not_found": (404, "The streak has no restore of many with this id."),
    "dead_letter_not_found": (404, "No dead letter has this id."),
    "tick_not_found": (404, "No tick has this id, or it was deleted by retention or erasure."),
    "award_not_found": (404, "No award has this id, or it was deleted by retention or erasure."),
    "tier_not_found": (404, "No tier has this id or code, or (for an assignment) it is inactive."),
    "challenge_not_found": (404, "No challenge has this id."),
    "leaderboard_not_found": (404, "No leaderboard has this code, or it is inactive."),
    "calendar_not_found": (404, "No calendar has this code."),
    "reward_not_found": (404, "No reward has this id, or (for a redemption) it is inactive."),
    "transaction_not_found": (404, "No transaction has this id, or its participant was erased."),
    "assignment_not_found": (404, "No assignment has this id, or its participant was erased."),
    "claim_not_found": (404, "No redemption has this id, or its participant was erased."),
    "streak_change_not_found": (404, "No change has this id, or its participant was erased."),
    "pause_not_found": (404, "The participant has no pause with this id."),
    "method_not_allowed": (405, "The path does not have this method; `Allow` lists those it has."),
    "body_too_slow": (408, "The body did not arrive within 10 s."),
    "balance_conflict": (409, "The participant has an opening balance with other totals."),
    "idempotency_conflict": (409, "This Idempotency-Key was first used with another body."),
    "webhook_disabled": (409, "The destination is disabled, so nothing is sent to it."),
    "replay_limit_reached": (409, "The tenant has the maximum number of running replays."),
    "restore_limit_reached": (409, "The tenant has the maximum number of running restores."),
    "restore_running": (409, "A restore of this streak is running; wait for it, or cancel it."),
    "dead_letter_discarded": (409, "The dead letter was discarded, so it cannot be replayed."),
    "dead_letter_replayed": (409, "The dead letter was replayed, so it cannot be discarded."),
    "dead_letter_unreadable": (409, "This release cannot read the dead letter."),
    "reward_not_open": (409, "The reward is not open for redemption now."),
    "reward_out_of_stock": (409, "This reward is out of stock. No points were taken."),
    "reward_limit_reached": (409, "The participant has redeemed this reward as often as allowed."),
    "participant_inactive": (409, "The participant is suspended or closed, so writes are refused."),
    "participant_erased": (409, "The participant was erased after this write was accepted."),
    "streak_not_started": (409, "The participant has no tick of this streak yet."),
    "pause_overlaps": (409, "Another pause protects one of these days already."),
    "freezes_not_for_sale": (409, "The streak's freezes have no `price_points`."),
    "period_in_future": (409, "The period has not begun on the participant's calendar."),
    "period_not_recorded": (409, "The period is not recorded, so it cannot be retracted."),
    "already_retracted": (409, "The tick was retracted before."),
    "tick_not_applied": (409, "The tick waits to be applied: retract it once it is."),
    "nothing_to_restore": (409, "No period of the streak was missed."),
    "already_merged": (409, "The participant `from` was merged into another one before."),
    "merge_in_circle": (409, "Both ids count for the same participant: `from` is its own id."),
    "body_too_large": (413, "The body is larger than 1 MB, before or after decompression."),
    "unsupported_media_type": (415, "The content type or encoding is unsupported; see the detail."),
    "validation_error": (422, "A field or parameter is invalid: `errors` names it and why."),
    "unknown_field": (422, "The request has unknown fields or parameters."),
    "timestamp_out_of_range": (422, "The timestamp is too far in the future or in the past."),
    "RATE_LIMIT_PARTICIPANT_EXCEEDED": (429, "Too many writes a minute for this participant."),
    "RATE_LIMIT_KEY_EXCEEDED": (429, "Too many writes a minute with this key."),
    "RATE_LIMIT_TENANT_EXCEEDED": (429, "Too many writes a minute for this tenant."),
    "too_many_failed_keys": (429, "Too many requests with unknown keys came from this address."),
    "internal_error": (500, "The server has a fault; `request_id` identifies it in the log."),
    "overloaded": (503, "Too many writes are waiting. Nothing was accepted: try again."),
    "unavailable": (503, "Postgres or Redis is unavailable. Nothing was stored: try again."),
    "outcome_unknown": (503, "Postgres or Redis did not answer; the write may have been stored."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field: its name, a stable code and advice. The input is not echoed."""

    field: str
    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """Its entry in `errors[]`."""
        return {"field": self.field, "code": self.code, "message": self.message}


class Problem(Exception):
    """A request answered with an error."""

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
        """Its fields in an item of a batch."""
        return {
            "code": self.code,
            "detail": self.detail,
            "errors": [error.as_json() for error in self.errors],
        }


def invalid(*errors: FieldError) -> Problem:
    """422: invalid fields."""
    names = ", ".join(dict.fromkeys(error.field for error in errors))
    return Problem(422, "validation_error", f"Invalid: {names}", errors)


def invalid_field(field: str, code: str, message: str) -> Problem:
    """422: one invalid field."""
    return invalid(FieldError(field, code, message))


def not_found(noun: str, name: str) -> Problem:
    """404 with the documented detail: `Badge 'x' not found`."""
    said = noun.replace("_", " ").capitalize()
    return Problem(404, f"{noun}_not_found", f"{said} '{name}' not found")


def unavailable() -> Problem:
    """503: Redis or Postgres does not answer; nothing was stored, now or later."""
    detail = "Postgres or Redis is unavailable. Nothing was stored; try again."
    return try_again("unavailable", detail)


def outcome_unknown(detail: str = "") -> Problem:
    """503: Redis or Postgres got the whole request but did not answer; it may be stored."""
    return try_again(
        "outcome_unknown",
        detail
        or "Postgres or Redis stopped answering, so this request may have been carried out. It is"
        " safe to send again with the same Idempotency-Key, for an award of a badge, or with any"
        " method but POST. Otherwise read first whether it was stored.",
    )


def try_again(code: str, detail: str) -> Problem:
    """503 with `Retry-After`."""
    return Problem(503, code, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def document(problem: Problem, request_id: str | None) -> dict[str, Any]:
    """The problem document (RFC 9457)."""
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
