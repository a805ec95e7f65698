"""Parts of the OpenAPI document that belong to no route: keys, headers, problems, parameters."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from api.input.validation import Code, ParticipantId

Json = dict[str, Any]

VERSION = "1"  # of the API, as in its base path; the software has its own version
SCHEMAS = "#/components/schemas/{model}"
# Schemas whose classes were renamed; generated clients have types of these names.
RELEASED_NAMES = {
    "AssetBalance": "Balance",
    "AuditItem": "AuditLine",
    "ExportedRedemption": "ExportedClaim",
    "MessageAnswer": "Message",
    "MilestoneBody": "Milestone",
    "MovementAccepted": "MoveAccepted",
    "MovementItem": "MoveItem",
    "MovementOutcome": "MoveOutcome",
    "MovementResult": "Moved",
    "MovementsAccepted": "MovesAccepted",
    "ParticipantRedemptions": "ParticipantClaims",
    "ProgramItem": "Program",
    "RedemptionAccepted": "ClaimAccepted",
    "RedemptionBody": "ClaimBody",
    "RedemptionEntry": "ClaimEntry",
    "RedemptionImport": "ClaimImport",
    "RedemptionImports": "ClaimImports",
    "RedemptionOutcome": "ClaimOutcome",
    "RedemptionResult": "Claimed",
    "TickResult": "Recorded",
}
EXAMPLE_ID = "01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f"

ABOUT = """\
Streaks, badges and points as a backend that you run yourself.

**Keys.** Send your key as `X-API-Key: …` or as `Authorization: Bearer …`. `bq_live_…` keys access
production data, `bq_test_…` keys the sandbox: one tenant, separate data. Management operations
need a key with the `admin` scope.

**Errors** are problem documents (RFC 9457, `application/problem+json`). Switch on `code`: the list
is closed and codes are never renamed. Invalid input names each field in `errors`.

**Writes** are queued and applied by a worker. The answer waits for the worker, 2 s unless
`Prefer: wait=N` says otherwise. It is 200 with the result, or 202: the write is accepted and will
be applied exactly once; `status_url` shows its status.

**Strings** hold no U+0000 and no lone surrogates. Instants are RFC 3339 in UTC with `Z`. Bodies are
at most 1 MB, also after `Content-Encoding: gzip`.

**Unknown names.** An unknown body field or query parameter is refused with 422 `unknown_field`,
which names the closest known one."""

PATH_PARAMETERS: dict[str, tuple[Json, str, str]] = {  # name → schema, example, description
    "participant_id": (
        TypeAdapter(ParticipantId).json_schema(),
        "user_42",
        "Your id of the participant, percent-encoded, including `/`.",
    ),
    "fact_id": (
        {"type": "string", "pattern": "^evt_[0-9a-f]{32}$"},
        "evt_01939c7e6a1b7c3d9e4f0a1b2c3d4e5f",
        "The id of the fact.",
    ),
    "leaderboard_code": (
        TypeAdapter(Code).json_schema(),
        "best_month",
        "The code of an active leaderboard.",
    ),
    "calendar_code": (
        TypeAdapter(Code).json_schema(),
        "bank_holidays",
        "The code of the calendar.",
    ),
    "code": (TypeAdapter(Code).json_schema(), "daily_login", "The code of the definition."),
}
ANY_ID = ({"type": "string", "format": "uuid"}, EXAMPLE_ID, "An id from an earlier answer.")

PROBLEM: Json = {
    "title": "Problem",
    "description": "A problem document (RFC 9457): why a request was refused.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people; it may change."},
        "code": {"type": "string", "description": "For programs; it is never renamed."},
        "request_id": {"type": "string", "description": "As in `X-Request-Id`."},
        "errors": {"type": "array", "items": {"$ref": SCHEMAS.format(model="FieldError")}},
    },
}
FIELD_ERROR: Json = {
    "title": "FieldError",
    "description": "One invalid field or parameter. The input is not echoed.",
    "type": "object",
    "required": ["field", "code", "message"],
    "properties": {
        "field": {"type": "string", "description": "Its path: `milestones.0.count`."},
        "code": {"type": "string"},
        "message": {"type": "string"},
    },
}
_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
HEADERS: dict[str, tuple[Json, str]] = {
    "X-Request-Id": (_TEXT, "Yours, if you sent a valid one; otherwise a new one."),
    "X-RateLimit-Limit": (_COUNT, "Writes a minute under the tightest cap that applies, if any."),
    "X-RateLimit-Remaining": (_COUNT, "How many writes are left."),
    "X-RateLimit-Reset": (_COUNT, "Seconds until the cap is fully available again."),
    "Retry-After": (_COUNT, "Seconds to wait before the next try."),
    "Location": (_TEXT, "The URL of the write's status."),
    "Preference-Applied": (_TEXT, "The part of `Prefer` that was applied."),
    "WWW-Authenticate": (_TEXT, "`Bearer`"),
    "Allow": (_TEXT, "The methods of this path."),
}
