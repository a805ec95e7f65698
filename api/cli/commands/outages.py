"""`unbroken outage`: protect every participant's streaks for the span of an outage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from unbroken_client.results import Outage

from api.cli import output
from api.cli.connect.api_client import Where, client
from api.cli.connect.api_session import api_options
from api.cli.fact_line import printable
from api.cli.options import json_option

_COLUMNS = ("id", "starts_at", "ends_at", "streak_codes", "reason")


@click.group("outage")
def group() -> None:
    """Protect every participant's streaks for the span of an outage of yours.

    Each period that overlaps the span is protected in the participant's own time zone: it counts
    nothing and costs nothing. Counts are right at once; facts that are no longer true are corrected
    by behavior.streak_repaired. Needs an admin key.

    \b
    Example:
      unbroken outage add 2026-05-23T08:00:00Z 2026-05-23T11:30:00Z "The login service was down"
      unbroken outage list
      unbroken outage remove 01970f1e-7a3c-7000-8000-000000000000
    """


@group.command(short_help="Protect the periods between two instants.")
@click.argument("starts_at", metavar="START")
@click.argument("ends_at", metavar="END")
@click.argument("reason")
@click.option(
    "--streak",
    "streak_codes",
    metavar="CODE",
    multiple=True,
    help="Only this streak; may be given several times.  [default: every streak]",
)
@api_options
@json_option
def add(
    starts_at: str,
    ends_at: str,
    reason: str,
    streak_codes: tuple[str, ...],
    url: str | None,
    key: str | None,
    path: Path,
    as_json: bool,
) -> None:
    """Protect the periods between two instants, such as 2026-05-23T08:00:00Z.

    \b
    Example:
      unbroken outage add 2026-05-23T08:00:00Z 2026-05-23T11:30:00Z "Login was down"
      unbroken outage add 2026-05-23T08:00:00Z 2026-05-23T11:30:00Z "Login" --streak daily_login
    """
    with client(Where(url, key, path)) as api:
        made = api.outages.add(starts_at, ends_at, reason, streak_codes or None)
    output.show(asdict(made), f"protected: {_streaks(made)}, {_span(made)}", as_json=as_json)


@group.command("list")
@api_options
@json_option
def list_outages(url: str | None, key: str | None, path: Path, as_json: bool) -> None:
    """List the outages, newest first.

    \b
    Example:
      unbroken outage list
      unbroken outage list --json
    """
    with client(Where(url, key, path)) as api:
        found = list(api.outages.list())
    rows = [asdict(outage) | {"reason": printable(outage.reason)} for outage in found]
    output.show_rows(rows, _COLUMNS, as_json=as_json)


@group.command(short_help="Protect its periods no longer.")
@click.argument("outage_id", metavar="ID")
@api_options
@json_option
def remove(outage_id: str, url: str | None, key: str | None, path: Path, as_json: bool) -> None:
    """Protect the periods of an outage no longer: streaks that only it has saved break.

    \b
    Example:
      unbroken outage remove 01970f1e-7a3c-7000-8000-000000000000
    """
    with client(Where(url, key, path)) as api:
        api.outages.remove(outage_id)
    output.show({"id": outage_id}, f"removed: {printable(outage_id)}", as_json=as_json)


def _streaks(outage: Outage) -> str:
    if outage.streak_codes is None:
        return "every streak"
    return ", ".join(printable(code) for code in outage.streak_codes)


def _span(outage: Outage) -> str:
    return f"{outage.starts_at} to {outage.ends_at}, id {outage.id}"
