"""`unbroken import`: import a history from a file; strict, resumable, without duplicates."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from api.cli import output
from api.cli.connect.api_client import Where, client
from api.cli.connect.api_session import api_options
from api.cli.errors import CannotRun
from api.cli.importing import preview, sending, source
from api.cli.importing.columns import Naming, plain
from api.cli.importing.job import Job
from api.cli.importing.kinds import RowKind
from api.cli.importing.mapping import Mapper
from api.cli.importing.registry import KINDS
from api.cli.importing.source_rows import DELIMITERS
from api.cli.options import json_option
from models.rules.periods import zone_names

_FIELDS = "; ".join(f"{kind.name}: {', '.join(kind.fields)}" for kind in KINDS.values())
_FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
}  # fmt: skip
# Options for rows with an empty field.
_CONSTANTS = {"streak": "streak_code", "badge": "badge_code", "timezone": "timezone"}


@click.command("import", short_help="Import a history, participants, balances and more; resumable.")
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--kind", type=click.Choice(list(KINDS)), default="ticks", show_default=True)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "ndjson"]),
    help="[default: by the file's ending; ndjson for -]",
)
@click.option(
    "--delimiter",
    metavar="NAME",
    help=f"Delimiter of a CSV file: {', '.join(DELIMITERS)}, or a character."
    "  [default: detected from the header]",
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help=f"Which column holds which field. {_FIELDS}. Repeatable.",
)
@click.option("--ignore", "ignored", multiple=True, metavar="COLUMN",
              help="Column to ignore; '*': every column without a field. Repeatable.")  # fmt: skip
@click.option("--streak", metavar="CODE", help="The streak of rows without one.")
@click.option("--badge", metavar="CODE", help="The badge of rows without one.")
@click.option(
    "--timezone",
    metavar="ZONE",
    help="Time zone of rows without one: for their instants and their days.",
)
@click.option(
    "--facts/--no-facts",
    default=False,
    help="Whether imported rows create facts.  [default: --no-facts]",
)
@click.option(
    "--effects/--no-effects",
    default=True,
    help="Whether milestones and challenges count ticks and awards.  [default: --effects]",
)
@click.option("--checkpoint", "kept", type=click.Path(dir_okay=False, path_type=Path),
              help="Where to store the progress.  [default: FILE.import.json]")  # fmt: skip
@click.option(
    "--afresh", is_flag=True, help="Ignore the checkpoint and start again: rows may count twice."
)
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path),
              help="Write refused rows and reasons there, to correct and import.")  # fmt: skip
@click.option(
    "--dry-run", is_flag=True, help="Check all rows and print what would count; send nothing."
)
@api_options
@json_option
def import_(source: str, as_json: bool, **given: Any) -> None:
    """Import ticks, or another --kind of rows, from FILE (- for stdin): CSV with a header, or
    NDJSON.

    Nothing is guessed. A file with unknown columns or open quotes is refused before any row is
    sent. A row without an instant, with an unknown time zone or with the wrong fields is refused
    with its line number; the other rows are imported.

    Run the same command again after any stop, even kill -9: it resumes, and no row counts twice as
    long as the service remembers idempotency keys (24 h). By default a history creates no facts
    (--no-facts needs an admin key), but it creates states, badges and points. Participants,
    balances, claims and challenges never create facts, and importing the same rows twice changes
    nothing. Exits with 1 when the file or any row was refused.

    \b
    Example:
      unbroken import history.csv --streak daily_login --map participant_id=user --dry-run
      unbroken import history.csv --streak daily_login --map participant_id=user
      unbroken import balances.csv --kind balances
      zcat ticks.ndjson.gz | unbroken import - --checkpoint ticks.json
    """
    job = _job(source, given)
    where = Where(given["url"], given["key"], given["path"])
    done = _dry_run(where, job) if given["dry_run"] else _run(where, job)
    output.show(done, _summary(job, done), as_json=as_json)
    sys.exit(1 if done["refused"] else 0)


def _run(where: Where, job: Job) -> dict[str, Any]:
    with client(where, sending.RETRIES) as api:
        return sending.run(api, job)


def _dry_run(where: Where, job: Job) -> dict[str, Any]:
    """With a key, codes are looked up too."""
    if not where.key:
        return preview.run(None, job)
    with client(where) as api:
        return preview.run(api, job)


def _job(file: str, given: Mapping[str, Any]) -> Job:
    kind = KINDS[given["kind"]]
    zone = given["timezone"]
    if zone is not None and zone not in zone_names():
        raise CannotRun("--timezone must be an IANA time zone such as Australia/Sydney")
    naming = Naming(kind, _mapped(kind, given["columns"]), _constants(kind, given),
                    frozenset(plain(name) for name in given["ignored"]))  # fmt: skip
    if not kind.is_queued and (given["facts"] or not given["effects"]):
        raise CannotRun(f"imported {kind.name} have no facts and no effects: omit these options")
    if kind.is_repair and not given["effects"]:
        raise CannotRun(f"imported {kind.name} have no effects: omit --no-effects")
    if given["facts"] and not given["effects"]:
        raise CannotRun("--no-effects goes only with --no-facts")
    kept = given["kept"] or (Path(f"{file}.import.json") if Path(file).is_file() else None)
    return Job(
        file, given["file_format"] or _format(file), _delimiter(given["delimiter"]),
        Mapper(naming, zone), given["facts"], kept, given["afresh"], given["rejects"],
        given["key"] or "", given["effects"],
    )  # fmt: skip


def _constants(kind: RowKind, given: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for option, name in _CONSTANTS.items():
        if given[option] is None:
            continue
        if name not in kind.fields:
            raise CannotRun(f"--{option} does not apply to {kind.name}")
        found[name] = given[option]
    return found


def _mapped(kind: RowKind, pairs: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in pairs:
        name, separator, column = text.partition("=")
        if not separator or name not in kind.fields:
            raise CannotRun(f"--map must be FIELD=COLUMN, with one of {', '.join(kind.fields)}")
        if name in found:
            raise CannotRun(f"--map says twice where {name} is")
        found[name] = column
    return found


def _format(file: str) -> str:
    if file == source.STDIN:
        return "ndjson"
    ending = Path(file).suffix.lower()
    if ending not in _FORMATS:
        raise CannotRun(f"the ending {ending!r} does not say what the file is: give --format")
    return _FORMATS[ending]


def _delimiter(text: str | None) -> str | None:
    if text is None or text in DELIMITERS:
        return DELIMITERS[text] if text else None
    if len(text) != 1 or text in '"\r\n ':
        raise CannotRun(f"--delimiter must be {', '.join(DELIMITERS)}, or one character")
    return text


def _summary(job: Job, done: Mapping[str, Any]) -> str:
    if "first" in done:
        return preview.summary_text(done, job.mapper.naming.kind)
    facts = "with facts" if job.facts else "without facts"
    again = f" (from row {done['resumed_at'] + 1} on, this time)" if done["resumed_at"] else ""
    is_queued = job.mapper.naming.kind.is_queued
    now = _NOW if done["accepted"] and is_queued else ""
    kept = f" Refused rows: {job.rejects}." if done["refused"] and job.rejects else ""
    return (
        f"{done['rows']} rows{again}: {done['accepted']} accepted, {done['refused']} refused;"
        f" {facts}.{now}{kept}"
    )


_NOW = " The workers apply them now."
