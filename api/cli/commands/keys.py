"""`unbroken key`: create, list, cap and revoke API keys."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from api.cli import output
from api.cli.connect.service import service
from api.cli.errors import CannotRun
from api.cli.options import WRITES_PER_MINUTE_MAX, cap_in_words, cap_option, operator_options
from models import clock
from models.identity import tenants
from models.identity.tenants import ApiKey, Mode
from models.operator import audit_log
from models.operator.audit_log import NewAuditEntry

EXPIRY_MAX = timedelta(days=3_650)  # ten years; for longer use "never", the default
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_COLUMNS = ("id", "mode", "hint", "scopes", "writes_per_minute", "expires_at", "revoked_at")

tenant_option = click.option("--tenant", "slug", required=True, help="The tenant's slug.")


@click.group()
def key() -> None:
    """Create, list, cap and revoke API keys.

    \b
    Example:
      unbroken key list --tenant acme
    """


@key.command()
@tenant_option
@click.option(
    "--mode",
    type=click.Choice(["live", "test"]),
    required=True,
    help="Production (live) or sandbox (test) data.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(sorted(tenants.ADMIN_SCOPES)),
    multiple=True,
    help="Admin scope for the key; without it, a participant key.",
)
@click.option("--expires", metavar="30d", help="Lifetime: 90m, 12h, 30d.  [default: never]")
@cap_option("writes-per-minute", "the key")
@operator_options
def create(slug: str, mode: Mode, path: Path, as_json: bool, **details: Any) -> None:
    """Create a key and print it; it cannot be printed again.

    \b
    Example:
      unbroken key create --tenant acme --mode live --scope admin --expires 30d
      unbroken key create --tenant acme --mode live --writes-per-minute 600
    """
    expires, cap = details["expires"], details["writes_per_minute"]
    expires_at = None if expires is None else clock.now() + lifetime(expires)
    with service(path) as found, found.reading() as connection:
        side = tenants.by_slug(connection, slug)[mode]
        key_id, text = tenants.create_key(connection, side, details["scopes"], expires_at)
        if cap:
            tenants.cap_key(connection, side.id, key_id, cap)
        detail = {
            "scopes": sorted(details["scopes"]),
            "expires_at": clock.isoformat_or_none(expires_at),
            "writes_per_minute": cap or 0,
        }
        audit_log.record(connection, NewAuditEntry(side.id, "key.created", str(key_id), detail))
    human = f"Key {key_id} created. It is shown only now:\n  {text}"
    output.show({"id": str(key_id), "key": text}, human, as_json=as_json)


@key.command("list")
@tenant_option
@operator_options
def list_(slug: str, path: Path, as_json: bool) -> None:
    """List the keys of a tenant, without the keys themselves: only hashes are stored.

    \b
    Example:
      unbroken key list --tenant acme
    """
    with service(path) as found, found.reading() as connection:
        sides = {side.id: side.mode for side in tenants.by_slug(connection, slug).values()}
        keys = tenants.list_keys(connection, list(sides))
    rows = [_row(key_row, sides[key_row.tenant_id]) for key_row in keys]
    output.show_rows(rows, _COLUMNS, as_json=as_json)


@key.command()
@click.argument("key_id", metavar="ID", type=click.UUID)
@click.argument("writes_per_minute", metavar="N", type=click.IntRange(0, WRITES_PER_MINUTE_MAX))
@operator_options
def cap(key_id: UUID, writes_per_minute: int, path: Path, as_json: bool) -> None:
    """Cap a key at N writes a minute over all processes; 0: no cap.

    The cap applies from the next write on.

    \b
    Example:
      unbroken key cap 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f 600
    """
    with service(path) as found:
        with found.reading() as connection:
            tenant_id = tenants.key_by_id(connection, key_id).tenant_id
        with found.changing([tenant_id]) as connection:
            tenants.cap_key(connection, tenant_id, key_id, writes_per_minute)
            detail = {"writes_per_minute": writes_per_minute}
            audit_log.record(
                connection, NewAuditEntry(tenant_id, "key.capped", str(key_id), detail)
            )
    row = {"id": str(key_id), "writes_per_minute": writes_per_minute}
    output.show(row, f"Key {key_id}: {cap_in_words(writes_per_minute)}.", as_json=as_json)


@key.command()
@click.argument("key_id", metavar="ID", type=click.UUID)
@operator_options
def revoke(key_id: UUID, path: Path, as_json: bool) -> None:
    """Revoke a key: writes with it are refused at once, reads within five seconds.

    \b
    Example:
      unbroken key revoke 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """
    with service(path) as found:
        with found.reading() as connection:
            tenant_id = tenants.key_by_id(connection, key_id).tenant_id
        with found.changing([tenant_id]) as connection:
            tenants.revoke_key(connection, tenant_id, key_id)
            audit_log.record(connection, NewAuditEntry(tenant_id, "key.revoked", str(key_id)))
    output.show({"id": str(key_id), "revoked": True}, f"Key {key_id} revoked.", as_json=as_json)


def lifetime(text: str) -> timedelta:
    """A lifetime like `90m`, `12h`, `30d`; raise CannotRun for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", text, re.ASCII)
    if match is None or (found := int(match[1]) * _UNITS[match[2]]) > EXPIRY_MAX:
        raise CannotRun(
            f"{text!r} is not a lifetime: use minutes, hours or days, as 90m, 12h or 30d,"
            f" at most {EXPIRY_MAX.days}d"
        )
    return found


def _row(found: ApiKey, mode: Mode) -> dict[str, Any]:
    return {
        "id": str(found.id),
        "mode": mode,
        "hint": found.hint,
        "scopes": sorted(found.scopes),
        "writes_per_minute": found.writes_per_minute,
        "expires_at": clock.isoformat_or_none(found.expires_at),
        "revoked_at": clock.isoformat_or_none(found.revoked_at),
    }
