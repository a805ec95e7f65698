"""`unbroken import`: a history of ticks or awards from a file; resumable, and never doubled."""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click
from unbroken_client import many
from unbroken_client.client import Unbroken
from unbroken_client.many import AWARDS, TICKS, Sending
from unbroken_client.transport import Retries

from api.cli import checkpoint, output
from api.cli.checkpoint import Checkpoint
from api.cli.client import Where, client
from api.cli.errors import CannotRun
from api.cli.lines import printable
from api.cli.options import data_option, json_option
from api.cli.progress import Progress
from api.cli.remote import key_option, url_option
from api.cli.rows import FIELDS, LINE_BYTES_MAX, BadRow, Mapped, Row, read
from models.rules.periods import zone_names

WINDOW_ROWS = 1_000  # between two checkpoints; the API takes as many at once
PATIENCE_SECONDS = 900.0  # without any progress: longer than a restart, an upgrade or a cap takes
SHOWN_MAX = 10  # refused rows on the screen; all of them are in --rejects
HEAD_BYTES = 65_536  # of a file, in the digest that knows it again
_RETRIES = Retries(tries_max=1_000, pause_seconds_max=10, total_seconds_max=PATIENCE_SECONDS)


@click.command("import", short_help="Import a history of ticks or awards; resumable.")
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--kind", type=click.Choice(list(FIELDS)), default="ticks", show_default=True)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "ndjson"]),
    help="[default: by the file's ending; ndjson for -]",
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help=f"Where a field is. Ticks: {', '.join(FIELDS['ticks'])}; awards: badge_code. Repeatable.",
)
@click.option("--streak", metavar="CODE", help="The streak of rows that name none.")
@click.option("--badge", metavar="CODE", help="The badge of rows that name none.")
@click.option("--timezone", metavar="ZONE", help="Of instants without one, and of these ticks.")
@click.option(
    "--facts/--no-facts",
    default=False,
    help="Whether webhooks and the feed tell of it.  [default: --no-facts]",
)
@click.option("--checkpoint", "kept", type=click.Path(dir_okay=False, path_type=Path),
              help="Where to keep how far it came.  [default: FILE.import.json]")  # fmt: skip
@click.option("--afresh", is_flag=True, help="Ignore the checkpoint: rows may then count twice.")
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path),
              help="Write refused rows there, as NDJSON with the reason.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Read and map all rows, and send nothing.")
@url_option
@key_option
@data_option
@json_option
def import_(source: str, as_json: bool, **given: Any) -> None:
    """Import a history of ticks or awards from FILE (- for stdin), CSV with a head or NDJSON.

    Start it again after whatever stopped it, also kill -9: it goes on, and no row counts twice
    within the day for which the service remembers keys. By default nobody is told of a history
    (--no-facts needs an admin key): states, badges and points are there, without facts.
    Exits with 1 when rows were refused.

    \b
    Example:
      unbroken import history.csv --streak daily_login --map participant_id=user --dry-run
      unbroken import history.csv --streak daily_login --map participant_id=user
      zcat ticks.ndjson.gz | unbroken import - --checkpoint ticks.json
    """
    job = _job(source, given)
    if given["dry_run"]:
        done = _dry_run(job)
    else:
        with client(Where(given["url"], given["key"], given["path"]), _RETRIES) as api:
            done = _run(api, job)
    output.show(done, _summary(job, done), as_json=as_json)
    sys.exit(1 if done["refused"] else 0)


@dataclass
class Job:
    """What is to be imported, and how."""

    source: str
    file_format: str
    how: Mapped
    facts: bool
    kept: Path | None
    is_afresh: bool
    rejects: Path | None
    key: str
    shown: int = field(default=0)


def _job(source: str, given: dict[str, Any]) -> Job:
    zone = given["timezone"]
    if zone is not None and zone not in zone_names():
        raise CannotRun("--timezone must be an IANA time zone such as Australia/Sydney")
    constants = {"streak_code": given["streak"], "badge_code": given["badge"], "timezone": zone}
    how = Mapped(
        given["kind"],
        dict(_pair(given["kind"], one) for one in given["columns"]),
        {name: value for name, value in constants.items() if value is not None},
        zone,
    )
    ending = "csv" if source.endswith(".csv") else "ndjson"
    kept = given["kept"] or (None if source == "-" else Path(f"{source}.import.json"))
    return Job(
        source, given["file_format"] or ending, how, given["facts"], kept, given["afresh"],
        given["rejects"], given["key"] or "",
    )  # fmt: skip


def _pair(kind: str, text: str) -> tuple[str, str]:
    name, separator, column = text.partition("=")
    if not separator or name not in FIELDS[kind]:
        raise CannotRun(f"--map must be FIELD=COLUMN, with one of {', '.join(FIELDS[kind])}")
    return name, column


# -- reading ---------------------------------------------------------------------------------


def _lines(stream: IO[bytes], progress: Progress) -> Iterator[str]:
    """Lines of UTF-8, each bounded."""
    is_first = True
    while line := stream.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise CannotRun("a line is longer than 1 MB: is that the right file and --format?")
        progress.read(len(line))
        try:
            yield line.decode("utf-8-sig" if is_first else "utf-8")
        except UnicodeDecodeError:
            raise CannotRun("the file is not UTF-8: convert it first, with iconv") from None
        is_first = False


def _windows(job: Job, progress: Progress, skipped: int) -> Iterator[list[Row]]:
    with ExitStack() as exits:
        try:
            stream = (
                sys.stdin.buffer if job.source == "-"
                else exits.enter_context(Path(job.source).open("rb"))
            )  # fmt: skip
            rows = islice(read(_lines(stream, progress), job.file_format, job.how), skipped, None)
            while window := list(islice(rows, WINDOW_ROWS)):
                yield window
        except BadRow as error:
            raise CannotRun(str(error)) from None
        except OSError as error:
            raise CannotRun(f"{job.source}: {error.strerror}") from None


def _digest(job: Job, url: str) -> str:
    """What makes an import the same one; a regular file is known by its size and its head."""
    told = [url, job.key, job.source, job.file_format, repr(job.how), str(job.facts)]
    found = hashlib.sha256("\n".join(told).encode())
    if job.source != "-":
        try:
            with Path(job.source).open("rb") as stream:
                found.update(stream.read(HEAD_BYTES))
            found.update(str(Path(job.source).stat().st_size).encode())
        except OSError as error:
            raise CannotRun(f"{job.source}: {error.strerror}") from None
    return found.hexdigest()


def _dry_run(job: Job) -> dict[str, Any]:
    rows = refused = 0
    first: list[Any] = []
    for window in _windows(job, Progress.silent(), 0):
        for row in window:
            rows += 1
            refused += row.item is None
            if row.item is None:
                _tell(job, row.number, row.why)
            elif len(first) < 3:
                first.append(row.item)
    return {"rows": rows, "refused": refused, "first": first}


# -- sending ---------------------------------------------------------------------------------


def _run(api: Unbroken, job: Job) -> dict[str, Any]:
    digest = _digest(job, api.transport.url)
    state = None
    if job.kept and not job.is_afresh:
        state = checkpoint.load(job.kept, digest)
    began = state.rows if state else 0
    state = state or Checkpoint(digest, uuid.uuid4().hex)
    if not state.is_done:
        _keep(job, state)  # its run, before anything is sent under it
        with Progress.of(job.source, began) as progress:
            for window in _windows(job, progress, state.rows):
                _send(api, job, state, window)
                _keep(job, state)
                progress.rows(state.rows)
        state.is_done = True
        _keep(job, state)
    return {
        "rows": state.rows, "accepted": state.accepted, "refused": state.refused,
        "resumed_at": began, "facts": job.facts,
    }  # fmt: skip


def _keep(job: Job, state: Checkpoint) -> None:
    if job.kept:
        try:
            checkpoint.save(job.kept, state)
        except OSError as error:
            raise CannotRun(f"cannot keep {job.kept}: {error.strerror}") from None


def _send(api: Unbroken, job: Job, state: Checkpoint, window: list[Row]) -> None:
    """Send a window in as many batches as its bytes need, each under a key that follows from where
    it stands."""
    good = [row for row in window if row.item is not None]
    refused = [(row, row.why) for row in window if row.item is None]
    kind = TICKS if job.how.kind == "ticks" else AWARDS
    sending, place = Sending(job.facts, patience_seconds=PATIENCE_SECONDS), 0
    for batch in many.batches(row.item for row in good if row.item is not None):
        key = f"import:{state.run}:{state.rows}:{place}"
        for one in many.send(api.transport, kind, batch, (key, sending)):
            if one.error is not None:
                fields = ", ".join(f"{each.field} {each.message}" for each in one.error.fields)
                refused.append((good[place + one.index], fields or str(one.error)))
        place += len(batch)
    _reject(job, refused)
    state.rows += len(window)
    state.refused += len(refused)
    state.accepted += len(window) - len(refused)


def _reject(job: Job, refused: list[tuple[Row, str]]) -> None:
    if not refused:
        return
    for row, why in refused:
        _tell(job, row.number, why)
    if job.rejects:
        with job.rejects.open("a") as stream:
            for row, why in refused:
                stream.write(json.dumps({"row": row.number, "why": why, "item": row.item}) + "\n")


def _tell(job: Job, number: int, why: str) -> None:
    job.shown += 1
    if job.shown <= SHOWN_MAX:
        click.echo(f"row {number}: {printable(why, 200)}", err=True)
    elif job.shown == SHOWN_MAX + 1:
        click.echo("further refused rows are not shown: --rejects keeps them all", err=True)


def _summary(job: Job, done: dict[str, Any]) -> str:
    if "first" in done:
        head = [f"{done['rows']} rows, {done['refused']} of them unusable; nothing was sent."]
        return "\n".join(
            head + [f"  {json.dumps(one, ensure_ascii=False)}" for one in done["first"]]
        )
    told = "facts tell of them" if job.facts else "no facts"
    again = f" (from row {done['resumed_at'] + 1} on, this time)" if done["resumed_at"] else ""
    return (
        f"{done['rows']} rows{again}: {done['accepted']} accepted, {done['refused']} refused;"
        f" {told}.{_NOW if done['accepted'] else ''}"
    )


_NOW = " The workers apply them now."
