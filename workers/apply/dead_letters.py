"""Entries that cannot be applied, and how they become dead letters."""

from __future__ import annotations

from contextlib import suppress
from uuid import NAMESPACE_OID, UUID, uuid5
from zoneinfo import ZoneInfoNotFoundError

from models import clock, ids
from models.db import Connection, RefusedData
from models.identity import tenants
from models.ledgers import dead_letters
from models.ledgers.dead_letters import DeadLetter
from models.people import erasure
from workers.apply.batch import UnknownDefinition
from workers.intake.messages import Message, Unreadable, decode, noun
from workers.intake.stream import StreamEntry

ERROR_CHARS_MAX = 2_000  # of a dead letter's error: enough to see why

_DATA_FAULTS = (
    RefusedData,
    Unreadable,
    UnknownDefinition,
    ZoneInfoNotFoundError,
    ValueError,
    OverflowError,
)


def is_in_the_data(error: Exception) -> bool:
    """Whether the entry itself is at fault, rather than our code, the schema or a server."""
    return isinstance(error, _DATA_FAULTS)


def name(error: Exception) -> str:
    """The type of an error; the driver's own, if it has one."""
    return type(getattr(error, "orig", None) or error).__name__


def store(connection: Connection, entry: StreamEntry, error: Exception, tries: int) -> str | None:
    """Keep an entry that failed its last try, unless its participant was erased meanwhile.

    Returns the kind of the dead letter, or None when none was kept.
    """
    message = _message(entry)
    if message is not None and _is_erased(connection, message):
        return None
    tenant_id, dead_letter_id = _dead_letter_key(entry, message)
    dead_letter = DeadLetter(
        tenant_id,
        dead_letter_id,
        "tick" if message is None else noun(message),
        message.participant_id.replace("\x00", "\\x00") if message else None,
        entry.text.decode(errors="backslashreplace").replace("\x00", "\\x00"),
        _describe(error)[:ERROR_CHARS_MAX].replace("\x00", "\\x00"),
        tries,
    )
    dead_letters.append(connection, dead_letter)
    return dead_letter.kind


def _describe(error: Exception) -> str:
    """The error text; the driver's own without our statement, if there is one."""
    return f"{name(error)}: {getattr(error, 'orig', None) or error}".strip()


def _is_erased(connection: Connection, message: Message) -> bool:
    """Whether it was accepted before an erasure: then no part of it may be kept."""
    found = tenants.find(connection, message.tenant_id)
    erased_at = erasure.last(connection, found, message.participant_id) if found else None
    if erased_at is None:
        return False
    try:
        accepted_us = ids.issued_at_us(UUID(message.id))
    except ValueError:
        return True
    return accepted_us < clock.to_us(erased_at)


def _message(entry: StreamEntry) -> Message | None:
    try:
        return decode(entry.text)
    except Unreadable:
        return None


def _dead_letter_key(entry: StreamEntry, message: Message | None) -> tuple[int, UUID]:
    """The key of an entry's dead letter. Every entry needs one, or it would be delivered for ever.

    An entry without a readable id is known by its text: failing again, it is the same dead letter.
    """
    if message is not None and 0 < message.tenant_id <= tenants.ID_MAX:
        with suppress(ValueError):
            return message.tenant_id, UUID(message.id)
    text = entry.text.decode(errors="backslashreplace")
    return dead_letters.UNKNOWN_TENANT, uuid5(NAMESPACE_OID, text)
