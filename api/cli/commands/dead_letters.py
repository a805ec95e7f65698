"""`unbroken dead-letters`: list, replay or discard writes that could not be applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import click

from api.cli import output
from api.cli.connect.service import Service, service
from api.cli.errors import CannotRun, NotThere
from api.cli.fact_line import printable
from api.cli.options import number_option, operator_options
from api.resources.operator import dead_letter_actions
from api.resources.operator.dead_letter_actions import REPLAYED_MAX, DeadLetterClosed
from models import clock
from models.db import Connection
from models.identity import tenants
from models.identity.tenants import MODES
from models.ledgers import dead_letters
from models.ledgers.base import WRITE_KINDS
from models.ledgers.dead_letters import (
    STATUSES,
    UNKNOWN_TENANT,
    DeadLetter,
    DeadLetterQuery,
    DeadLetterStatus,
)
from models.operator import audit_log
from models.operator.audit_log import NewAuditEntry
from workers.intake.client import Full, Unreadable

F = TypeVar("F", bound=Callable[..., Any])
LISTED = 50  # by default
LISTED_MAX = 10_000
ERROR_CHARS = 60  # in a table; `show` prints all of it
VALUE_CHARS = 20_000  # per value: a whole message fits
_COLUMNS = ("id", "tenant", "mode", "kind", "participant_id", "status", "tries", "error")


@dataclass(frozen=True)
class Chosen:
    """Filters for the dead letters of a command."""

    tenant: str | None
    mode: str | None
    kind: str | None


def _choosing(command: F) -> F:
    """The options that filter dead letters."""
    for option in (
        click.option("--kind", type=click.Choice(WRITE_KINDS), help="Only this type of write."),
        click.option(
            "--mode", type=click.Choice(MODES), help="Only this mode of the tenant: live or test."
        ),
        click.option(
            "--tenant",
            metavar="SLUG",
            help="Only dead letters of this tenant.  [default: all tenants]",
        ),
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def group() -> None:
    """List, replay or discard accepted writes that could not be applied.

    A write becomes a dead letter when every try to apply it has failed. Fix the cause, then replay
    it. It is applied once, however often it is replayed.

    \b
    Example:
      unbroken dead-letters list
      unbroken dead-letters show 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
      unbroken dead-letters replay --all --tenant acme
    """


# -- reading ---------------------------------------------------------------------------------


@group.command("list")
@_choosing
@click.option(
    "--status",
    type=click.Choice([*STATUSES, "any"]),
    default="dead",
    show_default=True,
    help="Only dead letters with this status.",
)
@number_option("--limit", (1, LISTED_MAX), LISTED, "How many to list.")
@operator_options
def list_(status: str, limit: int, path: Path, as_json: bool, **chosen: str | None) -> None:
    """List dead letters, the newest writes first. An unreadable one has no tenant.

    \b
    Example:
      unbroken dead-letters list --tenant acme --mode live
    """
    with service(path) as found, found.reading() as connection:
        wanted = _wanted(connection, Chosen(**chosen), limit)
        wanted = replace(wanted, status=None if status == "any" else cast(DeadLetterStatus, status))
        names = _names(connection)
        rows = [_row(dead_letter, names) for dead_letter in dead_letters.page(connection, wanted)]
        count = dead_letters.count(connection, wanted)
    if not as_json:
        for row in rows:
            row["error"] = printable(row["error"].partition("\n")[0], ERROR_CHARS)
    output.show_rows(rows, _COLUMNS, as_json=as_json)
    if count > len(rows):
        click.echo(f"{len(rows)} of {count}; --limit shows more", err=True)


@group.command()
@click.argument("dead_letter_id", metavar="ID", type=click.UUID)
@operator_options
def show(dead_letter_id: UUID, path: Path, as_json: bool) -> None:
    """Show a dead letter: its message as it was accepted, and why it could not be applied.

    \b
    Example:
      unbroken dead-letters show 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """
    with service(path) as found, found.reading() as connection:
        dead_letter = dead_letters.find(
            connection, dead_letters.owner(connection, dead_letter_id), dead_letter_id
        )
        if dead_letter is None:
            raise NotThere(f"Dead letter '{dead_letter_id}' not found")
        row = _row(dead_letter, _names(connection)) | {"message": dead_letter.message}
    lines = [f"{name.replace('_', ' '):14}  {_said(value)}" for name, value in row.items()]
    output.show(row, "\n".join(lines), as_json=as_json)


# -- replaying and discarding ----------------------------------------------------------------


@group.command()
@click.argument("dead_letter_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Replay all, the oldest first.")
@_choosing
@operator_options
def replay(
    dead_letter_ids: Sequence[UUID], is_all: bool, path: Path, as_json: bool, **chosen: str | None
) -> None:
    """Replay dead letters; a write that fails every try again is a dead letter again.

    \b
    Example:
      unbroken dead-letters replay 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
      unbroken dead-letters replay --all --tenant acme --mode live
    """
    _check(dead_letter_ids, is_all, chosen)
    with service(path) as found:
        count = _replay_all(found, Chosen(**chosen)) if is_all else len(dead_letter_ids)
        for dead_letter_id in dead_letter_ids:
            _replay(found, dead_letter_id)
    output.show({"replayed": count}, f"{count} replayed.", as_json=as_json)


@group.command()
@click.argument("dead_letter_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Discard all.")
@_choosing
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@operator_options
def discard(
    dead_letter_ids: Sequence[UUID],
    is_all: bool,
    yes: bool,
    path: Path,
    as_json: bool,
    **chosen: str | None,
) -> None:
    """Discard dead letters: they are kept, but never applied.

    \b
    Example:
      unbroken dead-letters discard 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """
    _check(dead_letter_ids, is_all, chosen)
    with service(path) as found:
        if not yes:
            count = _count(found, Chosen(**chosen)) if is_all else len(dead_letter_ids)
            click.confirm(
                f"Discard {count} dead letters? They will never be applied.",
                abort=True,
                err=True,
            )
        count = _discard_all(found, Chosen(**chosen)) if is_all else len(dead_letter_ids)
        for dead_letter_id in dead_letter_ids:
            _discard(found, dead_letter_id)
    output.show({"discarded": count}, f"{count} discarded.", as_json=as_json)


def _check(dead_letter_ids: Sequence[UUID], is_all: bool, chosen: dict[str, str | None]) -> None:
    if bool(dead_letter_ids) == is_all:
        raise CannotRun("give the ids of dead letters, or --all")
    if dead_letter_ids and any(chosen.values()):
        raise CannotRun("--tenant, --mode and --kind choose among --all")


def _replay(found: Service, dead_letter_id: UUID) -> None:
    with _speaking(dead_letter_id), found.reading() as connection:
        dead_letter = dead_letters.lock(
            connection, dead_letters.owner(connection, dead_letter_id), dead_letter_id
        )
        dead_letter_actions.replay(connection, found.intake, dead_letter)
        _record(connection, dead_letter, "replayed")


def _replay_all(found: Service, chosen: Chosen) -> int:
    """Replay all open dead letters, several per transaction; skip unreadable ones."""
    with found.reading() as connection:
        wanted = _wanted(connection, chosen, REPLAYED_MAX)
    count = 0
    while True:
        with _speaking(None), found.reading() as connection:
            done = dead_letter_actions.replay_some(connection, found.intake, wanted)
            for dead_letter in done:
                _record(connection, dead_letter, "replayed")
        if not done:
            return count
        count += len(done)
        wanted = replace(wanted, after=done[-1].id)  # do not replay one that fails again


def _discard(found: Service, dead_letter_id: UUID) -> None:
    with _speaking(dead_letter_id), found.reading() as connection:
        dead_letter = dead_letters.lock(
            connection, dead_letters.owner(connection, dead_letter_id), dead_letter_id
        )
        _give_up(connection, dead_letter)


def _discard_all(found: Service, chosen: Chosen) -> int:
    with found.reading() as connection:
        wanted = replace(_wanted(connection, chosen, REPLAYED_MAX), status="dead")
    count = 0
    while True:
        with found.reading() as connection:
            some = dead_letters.lock_some(connection, wanted)
            for dead_letter in some:
                _give_up(connection, dead_letter)
        count += len(some)
        if not some:
            return count


def _give_up(connection: Connection, dead_letter: DeadLetter) -> None:
    dead_letter_actions.discard(connection, dead_letter)
    if dead_letter.status != "discarded":
        _record(connection, dead_letter, "discarded")


@contextmanager
def _speaking(dead_letter_id: UUID | None) -> Iterator[None]:
    """Turn the errors of a replay into one line."""
    try:
        yield
    except DeadLetterClosed as error:
        raise CannotRun(f"{dead_letter_id}: {error}") from error
    except Unreadable as error:
        raise CannotRun(f"{dead_letter_id}: this release cannot read it; discard it") from error
    except Full as error:
        raise CannotRun("the intake is full: try again when less is waiting") from error


# -- shared ----------------------------------------------------------------------------------


def _wanted(connection: Connection, chosen: Chosen, limit: int) -> DeadLetterQuery:
    if chosen.tenant is None:
        if chosen.mode is not None:
            raise CannotRun("--mode needs --tenant")
        return DeadLetterQuery(limit, None, kind=chosen.kind)
    sides = tenants.by_slug(connection, chosen.tenant).values()
    found = [side.id for side in sides if chosen.mode in (None, side.mode)]
    return DeadLetterQuery(limit, found, kind=chosen.kind)


def _count(found: Service, chosen: Chosen) -> int:
    with found.reading() as connection:
        return dead_letters.count(
            connection, replace(_wanted(connection, chosen, 0), status="dead")
        )


def _record(connection: Connection, dead_letter: DeadLetter, what: str) -> None:
    """One audit entry, in the log of the tenant if it is known."""
    audit_log.record(
        connection, NewAuditEntry(dead_letter.tenant_id, f"dead_letter.{what}", str(dead_letter.id))
    )


Names = dict[int, tuple[str, str]]  # tenant id → slug and mode


def _names(connection: Connection) -> Names:
    sides = [tenants.by_id(connection, tenant_id) for tenant_id in tenants.all_ids(connection)]
    return {side.id: (side.slug, side.mode) for side in sides}


def _row(dead_letter: DeadLetter, names: Names) -> dict[str, Any]:
    slug, mode = names.get(dead_letter.tenant_id, (None, None))
    return {
        "id": str(dead_letter.id),
        "tenant": slug,
        "mode": mode,
        "kind": dead_letter.kind if dead_letter.tenant_id != UNKNOWN_TENANT else None,
        "participant_id": dead_letter.participant_id,
        "status": dead_letter.status,
        "tries": dead_letter.tries,
        "dead_since": clock.isoformat(dead_letter.dead_since),
        "settled_at": clock.isoformat_or_none(dead_letter.settled_at),
        "error": dead_letter.error,
    }


def _said(value: Any) -> str:
    """A value on a line of its own; received text must not move the terminal's cursor."""
    return "-" if value is None else printable(value, VALUE_CHARS)
