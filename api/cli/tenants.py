"""`unbroken tenant`: create tenants, list them, change what they may do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from api.cli import output
from api.cli.connection import Service, service
from api.cli.errors import CannotRun
from api.cli.options import data_option, json_option
from models import tenants
from models.tenants import MODES, Tenant

WRITES_PER_MINUTE = 120  # contract §2
WRITES_PER_MINUTE_MAX = 1_000_000  # beyond any participant; 0 says "no cap"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_COLUMNS = ("tenant", "enabled", "participant_writes_per_minute")

cap_option = click.option(
    "--participant-writes-per-minute",
    "cap",
    type=click.IntRange(0, WRITES_PER_MINUTE_MAX),
    help=f"Writes a participant may make in a minute; 0: no cap.  [default: {WRITES_PER_MINUTE}]",
)


@click.group()
def tenant() -> None:
    """Create tenants, list them, change what they may do.

    \b
    Example:
      unbroken tenant create acme
    """


@tenant.command()
@click.argument("slug")
@cap_option
@data_option
@json_option
def create(slug: str, cap: int | None, path: Path, as_json: bool) -> None:
    """Create a tenant and print its two admin keys, this once.

    SLUG is its name: small letters, digits and hyphens, at most 63.

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
        keys = _create(found, slug, WRITES_PER_MINUTE if cap is None else cap)
    text = (
        f"Tenant {slug} created. The keys are shown only now:\n"
        f"  live  {keys['live_key']}\n  test  {keys['test_key']}"
    )
    output.show({"tenant": slug, **keys}, text, as_json=as_json)


def _create(found: Service, slug: str, cap: int) -> dict[str, str]:
    with found.reading() as session:
        sides = tenants.create(session, slug, cap)
        return {
            f"{mode}_key": tenants.create_key(session, sides[mode], ["admin"])[1] for mode in MODES
        }


@tenant.command("list")
@data_option
@json_option
def list_(path: Path, as_json: bool) -> None:
    """List the tenants.

    \b
    Example:
      unbroken tenant list
    """
    with service(path) as found, found.reading() as session:
        sides = [tenants.by_id(session, tenant_id) for tenant_id in tenants.all_ids(session)]
    rows = [_row(side) for side in sides if side.mode == "live"]
    output.show_rows(rows, _COLUMNS, as_json=as_json)


@tenant.command("set")
@click.argument("slug")
@cap_option
@data_option
@json_option
def set_(slug: str, cap: int | None, path: Path, as_json: bool) -> None:
    """Change the cap of a tenant; it holds from the next write on.

    \b
    Example:
      unbroken tenant set acme --participant-writes-per-minute 600
    """
    if cap is None:
        raise CannotRun("nothing to set: give --participant-writes-per-minute N")
    row = _change(path, slug, participant_writes_per_minute=cap)
    output.show(row, f"Tenant {slug}: {cap or 'no cap on'} writes a minute.", as_json=as_json)


@tenant.command()
@click.argument("slug")
@data_option
@json_option
def disable(slug: str, path: Path, as_json: bool) -> None:
    """Refuse every request of a tenant from now on (403); its data stays.

    \b
    Example:
      unbroken tenant disable acme
    """
    row = _change(path, slug, is_enabled=False)
    output.show(row, f"Tenant {slug} is disabled.", as_json=as_json)


@tenant.command()
@click.argument("slug")
@data_option
@json_option
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
        with found.reading() as session:
            sides = tenants.by_slug(session, slug)
        with found.changing([side.id for side in sides.values()]) as session:
            return _row(tenants.change(session, slug, **values)["live"])


def _row(side: Tenant) -> dict[str, Any]:
    return {
        "tenant": side.slug,
        "enabled": side.is_enabled,
        "participant_writes_per_minute": side.participant_writes_per_minute,
    }
