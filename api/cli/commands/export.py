"""`unbroken export`: a tenant's data by kind, streamed from one snapshot."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import click

from api.cli.commands.person import person
from api.cli.connect.service import service
from api.cli.errors import CannotRun
from api.cli.options import operator_options
from api.cli.progress import FileProgress
from models.db import ROWS_AT_ONCE, Connection, snapshot
from models.identity import tenants
from models.identity.tenants import Mode
from models.people import export as exports
from models.people import export_repairs

WHAT: dict[str, Callable[[Connection, int], Iterator[dict[str, Any]]]] = {
    "participants": exports.participants,
    "states": exports.states,
    "ticks": exports.ticks,
    "awards": exports.awards,
    "balances": exports.balances,
    "claims": exports.redemptions,
    "challenges": exports.challenges,
    "pauses": export_repairs.pauses,
    "freezes": export_repairs.freezes,
    "repairs": export_repairs.repairs,
}
COLUMNS = {
    "participants": (
        "participant_id", "display_name", "avatar_url", "attributes", "timezone", "status", "tags",
        "programs", "total_events", "points_earned", "points_spent", "first_seen_at",
        "last_seen_at", "created_at",
    ),
    "states": (
        "participant_id", "streak_code", "period", "count", "longest_count", "grace_remaining",
        "last_recorded_at", "recorded",
    ),
    "ticks": (
        "participant_id", "streak_code", "timestamp", "timezone", "counted_timezone", "metadata",
        "value", "tick_id", "period_key", "outcome", "new_count",
    ),
    "awards": ("participant_id", "badge_code", "earned_at", "metadata", "award_id"),
    "balances": (
        "participant_id", "total_earned", "total_spent", "balance", "tier_code",
        "tier_achieved_at",
    ),
    "claims": (
        "participant_id", "reward_code", "claimed_at", "points_deducted", "balance_after",
        "metadata", "claim_id",
    ),
    "challenges": (
        "participant_id", "challenge_code", "progress", "completed_at", "target", "updated_at",
    ),
    "pauses": ("participant_id", "from", "to", "streak_codes", "reason", "pause_id"),
    "freezes": (
        "participant_id", "streak_code", "amount", "granted_on", "reason", "what",
        "streak_change_id",
    ),
    "repairs": (
        "participant_id", "streak_code", "from", "to", "as", "reason", "streak_change_id",
    ),
}  # fmt: skip
NOT_IN_IT = (
    "Not in it: definitions, single movements of points, facts, keys, ticks older than the ledger"
    " keeps, and writes that no worker has applied yet."
)


class _Export(click.Group):
    """A group whose command `tenant` may be omitted: `export acme ticks`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `tenant` if the first argument is neither a command nor a help option."""
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if not args or args[0] in known else [_TENANT, *args])


_TENANT = "tenant"


@click.group(cls=_Export, short_help="Export a tenant's data, or all data of one participant.")
def export() -> None:
    """Export the data of a TENANT, or all data of one participant.

    \b
    Example:
      unbroken export acme participants > participants.ndjson
      unbroken export person user_42 --out user_42.json
    """


export.add_command(person)


@export.command(_TENANT, short_help="Export one type of a tenant's data.")
@click.argument("tenant")
@click.argument("what", type=click.Choice(list(WHAT)))
@click.option("--mode", type=click.Choice(["live", "test"]), default="live", show_default=True)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ndjson", "csv"]),
    default="ndjson",
    show_default=True,
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: stdout]")
@operator_options
def of_tenant(tenant: str, what: str, mode: Mode, as_json: bool, **given: Any) -> None:
    """Export one type of a TENANT's data, as of one moment. The word `tenant` may be left out.

    Reads the database in one snapshot; memory use does not grow with the data. `unbroken import`
    reads all of these but states. With --json the count on stderr is JSON.

    Not in it: definitions, single movements of points, facts, keys, ticks older than the ledger
    keeps, and writes that no worker has applied yet.

    \b
    Example:
      unbroken export acme participants > participants.ndjson
      unbroken export acme ticks --format csv --out ticks.csv
    """
    with ExitStack() as exits:
        found = exits.enter_context(service(given["path"]))
        connection = exits.enter_context(snapshot(found.engine))
        tenant_id = tenants.by_slug(connection, tenant)[mode].id
        try:
            out: Path | None = given["out"]
            stream = exits.enter_context(_opened(out))
            rows = _write(
                stream, what, given["file_format"], _counted(out, WHAT[what](connection, tenant_id))
            )
        except BrokenPipeError:
            sys.exit(1)  # the reader closed the pipe
        except OSError as error:
            raise CannotRun(f"cannot write: {error.strerror}") from None
    summary = {"tenant": tenant, "mode": mode, "what": what, "rows": rows, "not_in_it": NOT_IN_IT}
    click.echo(json.dumps(summary) if as_json else f"{rows} {what}. {NOT_IN_IT}", err=True)


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """A file or stdout, in UTF-8 whatever the locale, without newline translation."""
    if out is None:
        if isinstance(sys.stdout, TextIOWrapper):  # unless a test replaces it
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield sys.stdout
        return
    with out.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def _counted(out: Path | None, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, with a running count on stderr unless stdout shows the rows."""
    with FileProgress.of("-", 0) if out else FileProgress.silent() as progress:
        for count, row in enumerate(rows, 1):
            yield row
            if count % ROWS_AT_ONCE == 0:
                progress.rows(count)


def _write(stream: IO[str], what: str, file_format: str, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    writer = csv.writer(stream)
    if file_format == "csv":
        writer.writerow(COLUMNS[what])
    for row in rows:
        count += 1
        if file_format == "csv":
            writer.writerow([_cell(row[name]) for name in COLUMNS[what]])
        else:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    stream.flush()
    return count


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
