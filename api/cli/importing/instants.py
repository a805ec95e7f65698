"""Parsing of instants and days in the formats of other products. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

from api.cli.importing.errors import BadRow
from models.rules.periods import zone_info

NOON = time(12)  # the time for a day without one
_DAY_CHARS_MAX = 10  # 2026-05-20, 2026-W21-3
_NUMBER = re.compile(r"-?\d{9,16}(\.\d+)?", re.ASCII)
_SECONDS_MAX = 100_000_000_000  # a larger number is milliseconds: as seconds it is the year 5138


def instant(value: Any, zone: str | None) -> tuple[str, bool]:
    """An instant as RFC 3339, and whether the file only had a day.

    Accepts an instant with a zone, without one (then `zone`, else UTC), a day (its noon), and
    seconds or milliseconds since 1970. Raises BadRow. A time that occurs twice is its first
    occurrence; a time that clocks skip moves later by the skipped span. The day stays as written in
    both cases.
    """
    text = str(value).strip()
    info: tzinfo = zone_info(zone) if zone else UTC
    try:
        if _NUMBER.fullmatch(text) and not isinstance(value, bool):
            return _of_number(float(text)).isoformat(), False
        day = _day(text)
        if day is not None:
            return _exists(datetime.combine(day, NOON, info)).isoformat(), True
        found = datetime.fromisoformat(re.sub(r" ?UTC$", "+00:00", text))
    except BadRow:
        raise
    except (ValueError, OverflowError, OSError):
        raise BadRow(
            f"timestamp {text[:40]!r} is neither an ISO 8601 date nor seconds since 1970"
        ) from None
    return (found if found.tzinfo else _exists(found.replace(tzinfo=info))).isoformat(), False


def _of_number(number: float) -> datetime:
    seconds = number / 1_000 if abs(number) > _SECONDS_MAX else number
    return datetime.fromtimestamp(seconds, UTC)


def _day(text: str) -> date | None:
    if len(text) > _DAY_CHARS_MAX:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _exists(local: datetime) -> datetime:
    """The same instant as clocks showed it; raises BadRow for a day that a zone skipped."""
    shown = local.astimezone(UTC).astimezone(local.tzinfo)
    if shown.date() != local.date():
        raise BadRow(f"timestamp {local:%Y-%m-%d %H:%M} is on a day that {local.tzinfo} left out")
    return shown
