"""`unbroken secrets`: the key ring that encrypts webhook secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from api.cli import output
from api.cli.connect.service import Service, find, service
from api.cli.errors import CannotRun, NotThere
from api.cli.options import operator_options
from models.db import Connection
from models.delivery import destination_keys
from models.delivery.destination_keys import Sealed
from models.operator import audit_log
from models.operator.audit_log import NO_TENANT, NewAuditEntry
from settings import variable
from webhooks import key_rotation
from webhooks import secrets as sealing
from webhooks.errors import SecretsError
from webhooks.secrets import Ring

BATCH = 200  # destinations per transaction: their rows are locked for about 50 ms
_COLUMNS = ("key", "secrets", "verdict")


@click.group()
def secrets() -> None:
    """Rotate the key ring that encrypts the signing secrets of destinations.

    \b
    UNBROKEN_SECRET_KEYS (or the file secret.key in the folder of `unbroken up`) lists keys, newest
    first, separated by commas. The first encrypts, all decrypt. To rotate:
      1. put a key from `unbroken secrets new-key` first, keep the old one, restart every process
      2. unbroken secrets rotate-key
      3. unbroken secrets check         shows whether the old key may be dropped
      4. remove the old key, restart every process
    Backups made before step 2 still need the old key.

    \b
    Example:
      unbroken secrets check
    """


@secrets.command("new-key")
def new_key() -> None:
    """Print a new key for the ring. It is stored nowhere.

    \b
    Example:
      export UNBROKEN_SECRET_KEYS="$(unbroken secrets new-key),$UNBROKEN_SECRET_KEYS"
    """
    click.echo(sealing.new_ring_key())


@secrets.command()
@operator_options
def check(path: Path, as_json: bool) -> None:
    """Show how many secrets each key encrypts, and which keys may be dropped.

    Exits with 1 when no key of the ring decrypts a secret.

    \b
    Example:
      unbroken secrets check --data ./data
    """
    with _opened(path) as (found, ring):
        counts: Counter[int | None] = Counter()
        for batch in _batches(found, ring, writes=False):
            counts.update(key_rotation.key_indexes(ring, batch))
    rows = [_row(cursor, counts[cursor]) for cursor in range(len(ring.keys))]
    if counts[None]:
        verdict = "under none of these keys"
        rows.append({"key": None, "secrets": counts[None], "verdict": verdict})
    output.show_rows(rows, _COLUMNS, as_json=as_json)
    _exit_unless_all_are_readable(counts[None])


@secrets.command("rotate-key")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would change.")
@operator_options
def rotate_key(path: Path, as_json: bool, dry_run: bool) -> None:
    """Re-encrypt every stored secret with the newest key of the ring.

    No process has to stop. After an interruption run it again; secrets under the newest key are
    skipped. Exits with 1 when no key of the ring decrypts a secret.

    \b
    Example:
      unbroken secrets rotate-key --dry-run
      unbroken secrets rotate-key
    """
    counts: Counter[str] = Counter()
    with _opened(path) as (found, ring):
        total = _total(found)
        for batch in _batches(found, ring, writes=not dry_run):
            counts.update(_counted(ring, batch))
            click.echo(f"{counts['destinations']} of {total} destinations", err=True)
    row: dict[str, Any] = {
        "destinations": counts["destinations"],
        "secrets": counts["secrets"],
        "reencrypted": counts["stale"],
        "unreadable": counts["unreadable"],
        "dry_run": dry_run,
    }
    said = "would be encrypted again" if dry_run else "encrypted again"
    human = f"{counts['stale']} of {counts['secrets']} secrets {said} with the newest key."
    output.show(row, human, as_json=as_json)
    _exit_unless_all_are_readable(counts["unreadable"])


# -- reading and writing ---------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Service, Ring]]:
    """The running service and its key ring."""
    ring = _ring(path)
    with service(path) as found:
        yield found, ring


def _ring(path: Path) -> Ring:
    """The key ring from the environment, else from the data folder, as in `unbroken up`."""
    settings = find(path)
    try:
        return sealing.ring(settings.secret_keys or _folder_key(path))
    except SecretsError as error:
        raise CannotRun(str(error)) from None


def _folder_key(path: Path) -> str:
    """The content of the folder's secret.key; empty if the file does not exist."""
    file = path / "secret.key"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CannotRun(f"cannot read {file}: {error.strerror}") from error


def _total(found: Service) -> int:
    with found.reading() as connection:
        return destination_keys.count(connection)


def _batches(found: Service, ring: Ring, *, writes: bool) -> Iterator[list[Sealed]]:
    """All destinations as read; with `writes`, a batch is first encrypted again and committed."""
    cursor = destination_keys.FIRST
    while True:
        with found.reading() as connection:
            batch = destination_keys.after(connection, cursor, BATCH, lock=writes)
            if writes:
                _store(connection, ring, batch)
        if not batch:
            return
        yield batch
        cursor = batch[-1].cursor


def _store(connection: Connection, ring: Ring, batch: list[Sealed]) -> None:
    """Encrypt a batch again, with an audit entry of the number of changes, if any."""
    renewed = [(secret, key_rotation.resealed(ring, secret)) for secret in batch]
    changed = [new for secret, new in renewed if new != secret]
    for new in changed:
        destination_keys.replace(connection, new)
    if changed:
        detail = {"destinations": len(changed)}
        audit_log.record(connection, NewAuditEntry(NO_TENANT, "secrets.resealed", None, detail))


def _counted(ring: Ring, batch: list[Sealed]) -> Counter[str]:
    key_indexes = list(key_rotation.key_indexes(ring, batch))
    return Counter(
        destinations=len(batch),
        secrets=len(key_indexes),
        stale=sum(bool(cursor) for cursor in key_indexes),
        unreadable=key_indexes.count(None),
    )


# -- printing --------------------------------------------------------------------------------


def _row(cursor: int, count: int) -> dict[str, Any]:
    if cursor == 0:
        verdict = "newest: encrypts"
    else:
        verdict = "still needed: run `unbroken secrets rotate-key`" if count else "may be dropped"
    return {"key": cursor + 1, "secrets": count, "verdict": verdict}


def _exit_unless_all_are_readable(unreadable: int) -> None:
    if unreadable:
        raise NotThere(
            f"{unreadable} secrets are under none of the keys: is one missing in"
            f" {variable('secret_keys')}?"
        )
