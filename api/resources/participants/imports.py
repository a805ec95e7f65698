"""The rows of `unbroken import` besides ticks and awards: written at once, idempotent per row.

A refused row does not affect the others. Sending the same rows again changes nothing
(models/people/imports.py), so a request without an answer is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import current_tenant, require_admin
from api.http.describe import describe
from api.http.problems import CODES, Problem
from api.http.responses import answer
from api.http.tenant_session import retried, transaction
from api.input.validation import Body, validated
from api.resources.participants import scrip
from api.resources.participants.import_bodies import (
    BalanceImport,
    BalanceImports,
    ChallengeImport,
    ChallengeImports,
    ParticipantImport,
    ParticipantImports,
    RedemptionImport,
    RedemptionImports,
)
from api.resources.shared import audit
from api.writes import batch
from api.writes.batch import ItemError
from models.db import Connection
from models.identity.tenants import Tenant
from models.people import imports, profile_imports
from models.people.imports import ImportResult, RowRefusal

blueprint = Blueprint("imports", __name__)

TRIES_MAX = 3  # against batches that change the same participants at the same time


class ImportItem(TypedDict):
    """The result of one row."""

    index: int
    participant_id: NotRequired[str]
    outcome: NotRequired[Literal["imported", "unchanged"]]
    error: NotRequired[ItemError]


class Imported(TypedDict):
    """One entry per row, in order, and the numbers of imported, existing and refused rows."""

    results: list[ImportItem]
    imported: int
    unchanged: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Import:
    """A type of row."""

    name: str  # of the list in the body
    action: str  # in the audit log
    body: type[Body]
    write: Callable[[Connection, Tenant, Sequence[Any]], list[ImportResult]]


PARTICIPANTS = Import(
    "participants", "participants.imported", ParticipantImport, profile_imports.write
)
BALANCES = Import("balances", "balances.imported", BalanceImport, imports.open_balances)
REDEMPTIONS = Import("claims", "claims.imported", RedemptionImport, imports.add_redemptions)
CHALLENGES = Import("challenges", "challenges.imported", ChallengeImport, imports.raise_progress)
_STATUS_OF = {  # of the codes that refuse a row
    code: CODES[code][0]
    for code in (
        "balance_conflict", "challenge_not_found", "participant_inactive", "program_not_found",
        "reward_not_found", "tier_not_found",
    )
}  # fmt: skip
_TYPES = (batch.JSON, batch.LINES)


@blueprint.post("/admin/import/participants")
@describe(
    "Import up to 1,000 participants",
    answers={200: Imported},
    body=ParticipantImports,
    example={"participants": [{"participant_id": "user_123", "timezone": "Australia/Sydney"}]},
    content_types=_TYPES,
)
@require_admin
def import_participants() -> Response:
    """Create or change participants: profile, tags, status, programs by name, and when they were
    first seen. Fields that are not given keep their values. It creates no facts."""
    posted, results = _post(PARTICIPANTS)
    for row, result in zip(posted, results, strict=True):
        if isinstance(row, ParticipantImport) and row.status and not isinstance(result, Problem):
            scrip.mark(current_tenant(), row.participant_id, is_active=row.status == "ACTIVE")
    return _answer(posted, results)


@blueprint.post("/admin/import/balances")
@describe(
    "Import up to 1,000 opening balances",
    answers={200: Imported},
    body=BalanceImports,
    example={
        "balances": [{"participant_id": "user_123", "total_earned": 1250, "total_spent": 250}]
    },
    content_types=_TYPES,
)
@require_admin
def import_balances() -> Response:
    """Add each participant's balance from elsewhere, once: the movements `opening` and
    `opening_spent` in the ledger, and the tier that is named or that the points reach. It creates
    no facts, and no challenge or leaderboard counts it. A second opening balance with other totals
    is refused with `balance_conflict`."""
    return _answer(*_post(BALANCES))


@blueprint.post("/admin/import/claims")
@describe(
    "Import up to 1,000 redemptions",
    answers={200: Imported},
    body=RedemptionImports,
    example={
        "claims": [
            {
                "participant_id": "user_123",
                "reward_code": "ten_percent_off",
                "claimed_at": "2026-05-23T08:15:00Z",
                "points_deducted": 500,
            }
        ]
    },
    content_types=_TYPES,
)
@require_admin
def import_claims() -> Response:
    """Add claims to the history. They count for each participant's limit; no points are taken (an
    opening balance has them as spent) and no stock is. A claim is known again by `claim_id`, or by
    participant, reward and instant."""
    return _answer(*_post(REDEMPTIONS))


@blueprint.post("/admin/import/challenges")
@describe(
    "Import up to 1,000 rows of challenge progress",
    answers={200: Imported},
    body=ChallengeImports,
    example={
        "challenges": [
            {"participant_id": "user_123", "challenge_code": "big_spender", "progress": 1250}
        ]
    },
    content_types=_TYPES,
)
@require_admin
def import_challenges() -> Response:
    """Raise progress to the given value, and record completions. Progress is never lowered, and
    completions give no prize."""
    return _answer(*_post(CHALLENGES))


# -- one request -----------------------------------------------------------------------------


def _post(kind: Import) -> tuple[list[Body | Problem], list[ImportResult | Problem]]:
    """The rows of a request and the outcome of each, in their order."""
    posted = [_validated(kind, value) for value in batch.items(kind.name)]
    good = [item for item in posted if not isinstance(item, Problem)]
    rows = [item.row() for item in good]
    written = iter(retried(lambda: _written(kind, rows), TRIES_MAX) if rows else ())
    return posted, [
        item if isinstance(item, Problem) else _result(next(written)) for item in posted
    ]


def _validated(kind: Import, value: Any) -> Any:
    if isinstance(value, Problem):
        return value
    try:
        return validated(kind.body, value)
    except Problem as problem:
        return problem


def _written(kind: Import, rows: Sequence[Any]) -> list[ImportResult]:
    with transaction() as connection:
        results = kind.write(connection, current_tenant(), rows)
        if imported := results.count("imported"):
            audit.record(connection, kind.action, rows=imported)  # without participant ids
        return results


def _result(result: ImportResult) -> ImportResult | Problem:
    if isinstance(result, RowRefusal):
        return Problem(_STATUS_OF[result.code], result.code, result.detail)
    return result


def _answer(posted: Sequence[Any], results: Sequence[ImportResult | Problem]) -> Response:
    items = [_item(index, *pair) for index, pair in enumerate(zip(posted, results, strict=True))]
    outcomes = [item.get("outcome", "rejected") for item in items]
    return answer(
        {
            "results": items,
            "imported": outcomes.count("imported"),
            "unchanged": outcomes.count("unchanged"),
            "rejected": outcomes.count("rejected"),
        }
    )


def _item(index: int, posted: Any, result: ImportResult | Problem) -> dict[str, Any]:
    if isinstance(result, Problem):
        return {"index": index, "error": result.as_item()}
    return {"index": index, "participant_id": posted.participant_id, "outcome": result}
