"""The audit log: changes and their actors, written in the change's transaction (contract §1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import UUID

from models import clock, ids
from models.db import Connection, run
from models.delivery import delivery_log
from models.delivery.delivery_log import TimeSpan

NO_TENANT = 0  # of a change that concerns no single tenant
SCANNED_MAX = 10_000  # entries scanned for one page, wanted or not: some 20 ms

_ANY_TIME = TimeSpan()

Actor = Literal["key", "operator", "system"]


@dataclass(frozen=True, slots=True)
class NewAuditEntry:
    """One change. `detail` never holds a secret, and nothing here names a participant."""

    tenant_id: int
    action: str  # the noun and the change: streak.created
    target: str | None = None  # the code or id of the changed object
    detail: Mapping[str, Any] = field(default_factory=dict)
    actor: Actor = "operator"
    key_id: UUID | None = None  # of the requesting key; None unless the actor is a key
    request_id: str | None = None
    address: str | None = None  # of the client, as far as the proxies report it


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change as stored in the log."""

    id: UUID  # UUIDv7 of the instant it was written
    entry: NewAuditEntry


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """A filter for audit entries, and their maximum number; None: any."""

    limit: int
    tenant_ids: Sequence[int] | None = None  # None: of every tenant, for the operator
    after: UUID = delivery_log.START.id  # the last one seen, newest first
    span: TimeSpan = _ANY_TIME
    action: str | None = None
    target: str | None = None


def record(connection: Connection, entry: NewAuditEntry) -> None:
    """Write an audit entry; it is committed only together with its change."""
    run(
        connection,
        "INSERT INTO audit_log"
        " (tenant_id, id, actor, key_id, action, target, detail, request_id, address)"
        " VALUES (%(tenant_id)s, %(id)s, %(actor)s, %(key_id)s, %(action)s, %(target)s,"
        " %(detail)s, %(request_id)s, %(address)s)",
        asdict(entry)
        | {
            "id": str(ids.uuid7(clock.now_us())),
            "key_id": str(entry.key_id) if entry.key_id else None,
            "detail": json.dumps(entry.detail),
        },
    )


def detail_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The detail of the given fields: their names, and the values of switches and numbers. Texts
    are left out: a URL may hold a password, a description anything."""
    harmless = {name: value for name, value in values.items() if isinstance(value, bool | int)}
    return {"fields": sorted(values)} | ({"values": harmless} if harmless else {})


def page(connection: Connection, wanted: AuditQuery) -> tuple[list[AuditEntry], UUID | None]:
    """The wanted entries, newest first, and the next cursor, if any.

    The scan is bounded: a page may be short although more follow.
    """
    rows = run(connection, _PAGE, _values(wanted))
    found = [_entry(row) for row in rows if row[-2]]
    if len(found) > wanted.limit:
        found = found[: wanted.limit]
        return found, found[-1].id
    is_cut = bool(rows) and rows[-1][-1]
    return found, UUID(rows[-1][0]) if is_cut else None


# The last entry scanned is always returned: it is the cursor.
_PAGE = """
SELECT id::text, tenant_id, action, target, detail::text, actor, key_id::text, request_id, address,
  is_wanted, is_cut
FROM (
  SELECT *, lead(id) OVER (ORDER BY id DESC) IS NULL AS is_last,
    count(*) OVER () = %(scanned)s AS is_cut,
    (%(action)s::text IS NULL OR action = %(action)s)
      AND (%(target)s::text IS NULL OR target = %(target)s) AS is_wanted
  FROM (SELECT * FROM audit_log
        WHERE (%(tenant_ids)s::integer[] IS NULL OR tenant_id = ANY(%(tenant_ids)s::integer[]))
          AND id < %(after)s AND id < %(end)s AND id >= %(first)s
        ORDER BY id DESC LIMIT %(scanned)s) looked_at
) one
WHERE is_wanted OR is_last ORDER BY id DESC LIMIT %(limit)s
"""


def _values(wanted: AuditQuery) -> dict[str, Any]:
    return {
        "tenant_ids": None if wanted.tenant_ids is None else list(wanted.tenant_ids),
        "after": str(wanted.after),
        "first": str(wanted.span.first),
        "end": str(wanted.span.end),
        "action": wanted.action,
        "target": wanted.target,
        "scanned": SCANNED_MAX,
        "limit": wanted.limit + 1,
    }


def _entry(row: Any) -> AuditEntry:
    its_id, tenant_id, action, target, detail, actor, key_id, request_id, address = row[:9]
    entry = NewAuditEntry(
        tenant_id,
        action,
        target,
        json.loads(detail),
        actor,
        None if key_id is None else UUID(key_id),
        request_id,
        address,
    )
    return AuditEntry(UUID(its_id), entry)
