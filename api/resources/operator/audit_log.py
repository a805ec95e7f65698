"""The audit log: one entry for every change that an admin makes through the API."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import Id, Moment, Parameter, describe, shown
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input import cursors
from api.input.field_messages import ACTION, PRINTABLE, checked
from api.input.validation import PAGE_SIZE_MAX, query_int
from models import clock, ids
from models.delivery.delivery_log import START, TimeSpan
from models.operator import audit_log
from models.operator.audit_log import Actor, AuditEntry, AuditQuery

blueprint = Blueprint("audit", __name__)

_CURSOR_BYTES = 16
_Action = Annotated[str, StringConstraints(max_length=64, pattern=ACTION)]
_Target = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PRINTABLE)]
_ACTION: TypeAdapter[str] = TypeAdapter(_Action)
_TARGET: TypeAdapter[str] = TypeAdapter(_Target)


class AuditItem(TypedDict):
    """One audit entry: time, actor, action, target and address."""

    id: Id
    at: Moment
    actor: Actor
    key_id: Id | None
    action: str
    target: str | None
    detail: dict[str, Any]
    request_id: str | None
    address: str | None


class AuditPage(TypedDict):
    """The next items. A page may be short although more follow; only a null `next_cursor` marks
    the end."""

    items: list[AuditItem]
    next_cursor: str | None


@blueprint.get("/admin/audit-log")
@describe(
    "List audit entries",
    answers={200: AuditPage},
    parameters=(
        Parameter("action", _ACTION.json_schema(), "Only this action, such as `streak.updated`."),
        Parameter(
            "target", _TARGET.json_schema(), "Only changes of the target with this code or id."
        ),
        cursors.SINCE,
        cursors.UNTIL,
        cursors.after_parameter(_CURSOR_BYTES),
        cursors.limit_parameter(PAGE_SIZE_MAX, 50),
    ),
)
@require_admin
def list_audit_log() -> Response:
    """Every change by an admin key, by the operator, or of a participant's status, newest first.

    `detail` names the fields that were given, and says the values of switches and numbers. Nothing
    here is a secret or names a participant.
    """
    wanted = _wanted()
    with reading() as connection:
        found, position = audit_log.page(connection, wanted)
    return answer(_page(found, position))


def _wanted() -> AuditQuery:
    after = cursors.decode("after", _CURSOR_BYTES)
    return AuditQuery(
        limit=query_int("limit", 50, 1, PAGE_SIZE_MAX),
        tenant_ids=[tenant().id],
        after=START.id if after is None else UUID(bytes=after),
        span=TimeSpan(cursors.query_instant("since"), cursors.query_instant("until")),
        action=_query("action", _ACTION),
        target=_query("target", _TARGET),
    )


def _query(name: str, kind: TypeAdapter[str]) -> str | None:
    text = request.args.get(name)
    return None if text is None else checked(name, kind, text)


def _page(found: list[AuditEntry], position: UUID | None) -> AuditPage:
    cursor = None if position is None else cursors.encode(position.bytes)
    return {"items": [as_json(entry) for entry in found], "next_cursor": cursor}


def as_json(entry: AuditEntry) -> AuditItem:
    """The JSON of an audit entry."""
    at = clock.to_text(ids.issued_at_us(entry.id))
    return shown(AuditItem, entry.entry, id=str(entry.id), at=at)
