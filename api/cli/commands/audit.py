"""`unbroken audit`: who changed what, for operators."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from pydantic import TypeAdapter, ValidationError

from api.cli import output
from api.cli.commands.keys import lifetime
from api.cli.connect.service import service
from api.cli.errors import CannotRun
from api.cli.options import number_option, operator_options
from api.input.validation import Instant
from models import clock, ids
from models.db import Connection
from models.delivery.delivery_log import TimeSpan
from models.identity import tenants
from models.identity.tenants import Mode, Tenant
from models.operator import audit_log
from models.operator.audit_log import AuditEntry, AuditQuery

PAGE = 500  # entries per query
LIMIT = 50
LIMIT_MAX = 100_000  # printed at once; --since narrows a longer log
_INSTANT: TypeAdapter[int] = TypeAdapter(Instant)
_COLUMNS = ("at", "tenant", "mode", "actor", "action", "target", "detail", "address")


@click.command(short_help="Show the audit log, newest entry first.")
@click.option(
    "--tenant",
    "slug",
    help="Only entries of this tenant.  [default: all, and entries without a tenant]",
)
@click.option(
    "--mode",
    type=click.Choice(["live", "test"]),
    help="Only this mode of the tenant: live or test.",
)
@click.option("--action", help="Only this action: streak.updated, key.revoked, …")
@click.option(
    "--since", metavar="WHEN", help="Only entries since then: 90m, 12h or 30d ago, or a timestamp."
)
@number_option("--limit", (1, LIMIT_MAX), LIMIT, "Print at most this many entries, the newest.")
@operator_options
def audit(
    slug: str | None, mode: Mode | None, limit: int, path: Path, as_json: bool, **given: Any
) -> None:
    """Show the audit log, newest entry first: changes by admins and by the operator.

    No entry holds a secret or names a participant.

    \b
    Example:
      unbroken audit --tenant acme --since 7d
      unbroken audit --action key.revoked --json
    """
    if mode and not slug:
        raise CannotRun("--mode needs --tenant: a mode is a side of a tenant")
    since_us = None if given["since"] is None else _since(given["since"])
    with service(path) as found, found.reading() as connection:
        sides = _sides(connection, slug, mode)
        chosen = [side.id for side in sides] if slug else None
        wanted = AuditQuery(limit, chosen, span=TimeSpan(since_us), action=given["action"])
        entries = _entries(connection, wanted)
    names = {side.id: side for side in sides}
    rows = [_row(entry, names.get(entry.entry.tenant_id)) for entry in entries]
    if not as_json:
        for row in rows:
            row["detail"] = json.dumps(row["detail"], ensure_ascii=False) if row["detail"] else None
    output.show_rows(rows, _COLUMNS, as_json=as_json)


def _since(text: str) -> int:
    """An instant in microseconds, from an age or an RFC 3339 timestamp."""
    try:
        return _INSTANT.validate_python(text)
    except ValidationError:
        return clock.to_us(clock.now() - lifetime(text))


def _sides(connection: Connection, slug: str | None, mode: Mode | None) -> list[Tenant]:
    if slug is None:
        return [tenants.by_id(connection, tenant_id) for tenant_id in tenants.all_ids(connection)]
    sides = tenants.by_slug(connection, slug)
    return [sides[mode]] if mode else list(sides.values())


def _entries(connection: Connection, wanted: AuditQuery) -> list[AuditEntry]:
    """The requested number of entries, read in pages."""
    entries: list[AuditEntry] = []
    cursor: UUID | None = wanted.after
    while cursor is not None and len(entries) < wanted.limit:
        size = min(PAGE, wanted.limit - len(entries))
        found, cursor = audit_log.page(connection, replace(wanted, limit=size, after=cursor))
        entries += found
    return entries


def _row(entry: AuditEntry, side: Tenant | None) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "at": clock.to_text(ids.issued_at_us(entry.id)),
        "tenant": side.slug if side else None,
        "mode": side.mode if side else None,
        "actor": entry.entry.actor,
        "key_id": str(entry.entry.key_id) if entry.entry.key_id else None,
        "action": entry.entry.action,
        "target": entry.entry.target,
        "detail": dict(entry.entry.detail),
        "request_id": entry.entry.request_id,
        "address": entry.entry.address,
    }
