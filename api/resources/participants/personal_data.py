"""All data of one participant in one call, for a data-subject request (docs/security.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from flask import Blueprint, Response
from pydantic_core import to_json

from api.http.auth import require_admin, tenant
from api.http.describe import describe
from api.http.problems import not_found, unavailable
from api.http.request_context import app_context
from api.http.tenant_session import retried, snapshot
from api.input.validation import participant_id_in_path
from api.resources.participants.personal_documents import PersonalData
from api.resources.shared import audit, dead_letter_view
from models import clock
from models.db import Connection
from models.people import personal_data
from models.people.personal_data import Subject

blueprint = Blueprint("personal_data", __name__)

MEMORY_BYTES_MAX = 1_000_000  # of a document; the rest is on disk until it is sent
CHUNK_BYTES = 65_536
TRIES_MAX = 3  # against an erasure that committed while this read waited for it


@blueprint.get("/participants/<participant:participant_id>/export")
@describe(
    "Export a participant's data",
    answers={200: PersonalData},
    problems=("participant_not_found",),
)
@require_admin
def export_participant(participant_id: str) -> Response:
    """All data that an erasure of the participant would delete, as of one moment, in one document.

    It does not contain writes that no worker has applied yet. Each process sends at most two
    exports at a time; a further one is answered 503 with `Retry-After`. Each export has an audit
    entry.
    """
    participant_id = participant_id_in_path(participant_id)
    with ExitStack() as exits:
        if not exits.enter_context(app_context().slots.exports.slot()):
            raise unavailable()
        file = exits.enter_context(SpooledTemporaryFile(MEMORY_BYTES_MAX))
        _write(file, participant_id)
        return _sent(file, exits.pop_all())


def _write(file: IO[bytes], participant_id: str) -> None:
    """Write the whole document before any of it is sent: an error still gets an error status, and a
    slow reader holds no database connection."""
    try:
        retried(lambda: _write_once(file, participant_id), TRIES_MAX)
    except OSError as error:  # the disk for temporary files is full
        raise unavailable() from error


def _write_once(file: IO[bytes], participant_id: str) -> None:
    file.seek(0)
    file.truncate()
    with snapshot() as connection:
        subject = personal_data.hold(connection, tenant().id, participant_id)
        if subject is None:
            raise not_found("participant", participant_id)
        for part in _parts(connection, subject):
            file.write(part)  # `writelines` would move to disk only after the last part
        audit.record(connection, "participant.exported")  # without the participant's id


def _parts(connection: Connection, subject: Subject) -> Iterator[bytes]:
    """The document in pieces, one row per line."""
    head = {
        "participant_id": subject.external_id,
        "tenant": tenant().slug,
        "mode": tenant().mode,
        "exported_at": clock.isoformat(clock.now()),
        "profile": personal_data.profile(connection, subject),
    }
    yield to_json(head)[:-1]
    for section in personal_data.SECTIONS:
        yield from _section(section.name, section.rows(connection, subject))
    letters = (
        letter
        for name in (subject.external_id, *subject.aliases)
        for letter in dead_letter_view.of_participant(connection, name)
    )
    yield from _section("dead_letters", letters)
    yield b"}\n"


def _section(name: str, rows: Iterator[Any]) -> Iterator[bytes]:
    yield b",\n" + to_json(name) + b":["
    for number, row in enumerate(rows):
        yield (b",\n" if number else b"\n") + to_json(row)
    yield b"]"


def _sent(file: IO[bytes], held: ExitStack) -> Response:
    """The file as a response with its length; `held` is closed after the file was read."""
    headers = {"Content-Length": str(file.tell())}
    file.seek(0)
    response = Response(_chunks(file, held), 200, headers, content_type="application/json")
    response.call_on_close(held.close)
    return response


def _chunks(file: IO[bytes], held: ExitStack) -> Iterator[bytes]:
    with held:
        yield from iter(lambda: file.read(CHUNK_BYTES), b"")
