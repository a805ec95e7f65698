"""Audit entries of the changes that keys make through the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import g, request

from api.http.auth import principal
from api.http.describe import Parameter
from api.http.failed_key_throttle import client_address
from api.input.validation import REASON_CHARS_MAX
from models.db import Connection
from models.operator import audit_log
from models.operator.audit_log import NewAuditEntry

detail_of = audit_log.detail_of


def record(connection: Connection, action: str, target: str | None = None, **detail: Any) -> None:
    """Add an audit entry, in the transaction of a change, for the key of this request."""
    caller = principal()
    audit_log.record(
        connection,
        NewAuditEntry(
            tenant_id=caller.tenant.id,
            action=action,
            target=target,
            detail=detail,
            actor="key",
            key_id=caller.key.id,
            request_id=g.request_id,
            address=client_address(request),
        ),
    )


AUDITED_REASON = Parameter(
    "reason",
    {"type": "string", "maxLength": REASON_CHARS_MAX},
    "Why, for the audit log. Do not name the participant: an erasure keeps it.",
)


def because(reason: str | None) -> dict[str, str]:
    """The detail of an entry with a reason."""
    return {} if reason is None else {"reason": reason}


def changed(noun: str, values: Mapping[str, Any]) -> str:
    """The action of a change: `deactivated` if nothing else changed."""
    return f"{noun}.deactivated" if dict(values) == {"is_active": False} else f"{noun}.updated"
