"""`unbroken tenant`: create, list and change tenants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from api.cli import output
from api.cli.connect.service import Service, service
from api.cli.errors import CannotRun
from api.cli.options import cap_in_words, cap_option, operator_options
from models.identity import tenants
from models.identity.tenants import MODES, Tenant
from models.operator import audit_log
from models.operator.audit_log import NewAuditEntry

WRITES_PER_MINUTE = 120  # contract §2
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_COLUMNS = (
    "tenant",
    "enabled",
    "participant_writes_per_minute",
    "writes_per_minute",
    "unknown_fields",
)

participant_option = cap_option(
    "participant-writes-per-minute", "a participant", str(WRITES_PER_MINUTE)
)
tenant_option = cap_option("writes-per-minute", "each side of the tenant, with all its keys,")


@click.group()
def tenant() -> None:
    """Create, list, change, disable and enable tenants.

    \b
    Example:
      unbroken tenant create acme
    """


@tenant.command()
@click.argument("slug")
@participant_option
@tenant_option
@operator_options
def create(slug: str, path: Path, as_json: bool, **caps: int | None) -> None:
    """Create a tenant and print its two admin keys; they cannot be printed again.

    SLUG is its name: lowercase letters, digits and hyphens, at most 63.

    \b
    Example:
      unbroken tenant create acme --json
    """
    if not _SLUG.fullmatch(slug):
        raise CannotRun(
            f"{slug!r} is not a slug: use 1 to 63 small letters, digits and hyphens,"
            " and begin with a letter or digit"
        )
    with service(path) as found:
        keys = _create(found, slug, _given(caps))
    text = (
        f"Tenant {slug} created. The keys are shown only now:\n"
        f"  live  {keys['live_key']}\n  test  {keys['test_key']}"
    )
    output.show({"tenant": slug, **keys}, text, as_json=as_json)


def _create(found: Service, slug: str, caps: dict[str, int]) -> dict[str, str]:
    with found.reading() as connection:
        tenants.create(connection, slug, WRITES_PER_MINUTE)
        sides = (
            tenants.change(connection, slug, **caps) if caps else tenants.by_slug(connection, slug)
        )
        keys = {mode: tenants.create_key(connection, sides[mode], ["admin"]) for mode in MODES}
        for mode, (key_id, _) in keys.items():
            detail = audit_log.detail_of(caps) | {"key_id": str(key_id)}
            audit_log.record(
                connection, NewAuditEntry(sides[mode].id, "tenant.created", slug, detail)
            )
        return {f"{mode}_key": key for mode, (_, key) in keys.items()}


@tenant.command("list")
@operator_options
def list_(path: Path, as_json: bool) -> None:
    """List the tenants.

    \b
    Example:
      unbroken tenant list
    """
    with service(path) as found, found.reading() as connection:
        sides = [tenants.by_id(connection, tenant_id) for tenant_id in tenants.all_ids(connection)]
    rows = [_row(side) for side in sides if side.mode == "live"]
    output.show_rows(rows, _COLUMNS, as_json=as_json)


@tenant.command("set")
@click.argument("slug")
@participant_option
@tenant_option
@click.option(
    "--unknown-fields",
    type=click.Choice(["allow", "refuse"]),
    help="Fields and query parameters that are not known: ignore them, or answer 422."
    "  [default: refuse]",
)
@operator_options
def set_(
    slug: str, path: Path, as_json: bool, unknown_fields: str | None, **caps: int | None
) -> None:
    """Change a tenant's caps, and whether unknown fields are refused.

    The change applies from the next write on, in every process. Live and test writes are counted
    separately. Options that are not given keep their values.

    \b
    Example:
      unbroken tenant set acme --participant-writes-per-minute 600
      unbroken tenant set acme --writes-per-minute 60000
      unbroken tenant set acme --unknown-fields allow
    """
    given: dict[str, bool | int] = dict(_given(caps))
    if unknown_fields is not None:
        given["allows_unknown_fields"] = unknown_fields == "allow"
    if not given:
        raise CannotRun(
            "nothing to set: give --participant-writes-per-minute N, --writes-per-minute N"
            " or --unknown-fields allow|refuse"
        )
    row = _change(path, slug, **given)
    text = (
        f"Tenant {slug}: {cap_in_words(row['participant_writes_per_minute'])} per participant,"
        f" {cap_in_words(row['writes_per_minute'])} in all;"
        f" unknown fields are {'ignored' if row['unknown_fields'] == 'allow' else 'refused'}."
    )
    output.show(row, text, as_json=as_json)


def _given(caps: dict[str, int | None]) -> dict[str, int]:
    return {name: cap for name, cap in caps.items() if cap is not None}


@tenant.command()
@click.argument("slug")
@operator_options
def disable(slug: str, path: Path, as_json: bool) -> None:
    """Refuse every request of a tenant (403). Its data is kept.

    \b
    Example:
      unbroken tenant disable acme
    """
    row = _change(path, slug, is_enabled=False)
    output.show(row, f"Tenant {slug} is disabled.", as_json=as_json)


@tenant.command()
@click.argument("slug")
@operator_options
def enable(slug: str, path: Path, as_json: bool) -> None:
    """Serve a disabled tenant again.

    \b
    Example:
      unbroken tenant enable acme
    """
    row = _change(path, slug, is_enabled=True)
    output.show(row, f"Tenant {slug} is enabled.", as_json=as_json)


def _change(path: Path, slug: str, **values: bool | int) -> dict[str, Any]:
    with service(path) as found:
        with found.reading() as connection:
            sides = tenants.by_slug(connection, slug)
        with found.changing([side.id for side in sides.values()]) as connection:
            for side in sides.values():  # each has its own audit log
                audit_log.record(
                    connection,
                    NewAuditEntry(side.id, "tenant.changed", slug, audit_log.detail_of(values)),
                )
            return _row(tenants.change(connection, slug, **values)["live"])


def _row(side: Tenant) -> dict[str, Any]:
    return {
        "tenant": side.slug,
        "enabled": side.is_enabled,
        "participant_writes_per_minute": side.participant_writes_per_minute,
        "writes_per_minute": side.writes_per_minute,
        "unknown_fields": "allow" if side.allows_unknown_fields else "refuse",
    }
