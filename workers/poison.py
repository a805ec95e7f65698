"""Poison: entries that cannot be applied, and how they become dead letters."""

from __future__ import annotations

from uuid import NAMESPACE_OID, UUID, uuid5
from zoneinfo import ZoneInfoNotFoundError

from models import dead_letters
from models.db import Session, is_refused_data
from models.dead_letters import DeadLetter
from workers.messages import Unreadable, decode
from workers.streaks import UnknownStreak
from workers.stream import Entry

TENANT_ID_MAX = 2**31 - 1  # the column's integer: what cannot be kept would fail for ever
ERROR_CHARS_MAX = 2_000  # of a dead letter's error: enough to see why

_DATA_FAULTS = (Unreadable, UnknownStreak, ZoneInfoNotFoundError, ValueError, OverflowError)


def is_in_the_data(error: Exception) -> bool:
    """Whether the entry itself is at fault, not our code, its schema or a server."""
    return isinstance(error, _DATA_FAULTS) or is_refused_data(error)


def name(error: Exception) -> str:
    """The type of an error, the driver's own if there is one."""
    return type(getattr(error, "orig", None) or error).__name__


def bury(session: Session, entry: Entry, error: Exception, tries: int) -> None:
    """Keep an entry that failed its last try."""
    tenant_id, letter_id = _letter_key(entry)
    letter = DeadLetter(
        tenant_id,
        letter_id,
        "tick",
        entry.text.decode(errors="backslashreplace").replace("\x00", "\\x00"),
        repr(error)[:ERROR_CHARS_MAX].replace("\x00", "\\x00"),
        tries,
    )
    dead_letters.append(session, letter)


def _letter_key(entry: Entry) -> tuple[int, UUID]:
    """Whose dead letter an entry becomes: one must always be possible, or it would come back."""
    try:
        message = decode(entry.text)
        letter_id = UUID(message.id)
    except (Unreadable, ValueError):
        pass
    else:
        if 0 < message.tenant_id <= TENANT_ID_MAX:
            return message.tenant_id, letter_id
    return dead_letters.UNKNOWN_TENANT, uuid5(NAMESPACE_OID, f"{entry.stream} {entry.id.decode()}")
