"""Rows of a history as they stand in a file: CSV or NDJSON, read one by one, mapped to writes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

LINE_BYTES_MAX = 1_000_000  # no write is larger than a body may be
NOON = time(12)  # of a day without a time: the same day in every zone that is near
_NUMBER = re.compile(r"-?\d{9,16}(\.\d+)?", re.ASCII)
_SECONDS_MAX = 100_000_000_000  # beyond it a number is milliseconds: in seconds, the year 5138
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

FIELDS = {
    "ticks": ("participant_id", "streak_code", "timestamp", "timezone", "metadata"),
    "awards": ("participant_id", "badge_code", "metadata"),
}
NEEDED = {"ticks": ("participant_id", "streak_code"), "awards": ("participant_id", "badge_code")}


class BadRow(ValueError):
    """A row that is no write; the text says why."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """How rows become writes."""

    kind: str  # ticks or awards
    columns: Mapping[str, str] = field(default_factory=dict)  # from a field to its column
    constants: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None  # of instants without one, and of the ticks

    def item(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The write of a row; raises BadRow. Pure."""
        made: dict[str, Any] = {}
        for name in FIELDS[self.kind]:
            value = row.get(self.columns.get(name, name))
            if value is None or value == "":
                value = self.constants.get(name)
            if value is not None:
                made[name] = self._value(name, value)
        for name in NEEDED[self.kind]:
            if name not in made:
                raise BadRow(f"{name} is empty: map its column with --map {name}=COLUMN")
        return made

    def _value(self, name: str, value: Any) -> Any:
        if name == "timestamp":
            return instant(value, self.timezone)
        if name == "metadata":
            return _metadata(value)
        return value if isinstance(value, str) else str(value)


def instant(value: Any, timezone: str | None) -> str:
    """An instant of a file as RFC 3339: with a zone, without one (then `timezone`, else UTC), a
    day (its noon), or seconds or milliseconds since 1970. Raises BadRow. Pure."""
    text = str(value).strip()
    zone = ZoneInfo(timezone) if timezone else UTC
    try:
        if _NUMBER.fullmatch(text):
            number = float(text)
            seconds = number / 1_000 if abs(number) > _SECONDS_MAX else number
            return datetime.fromtimestamp(seconds, UTC).isoformat()
        if _DAY.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), NOON, zone).isoformat()
        found = datetime.fromisoformat(re.sub(r" ?UTC$", "+00:00", text))
    except (ValueError, OverflowError, OSError):
        raise BadRow("the timestamp is neither an ISO date nor seconds since 1970") from None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).isoformat()


def _metadata(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise BadRow("metadata must be a JSON object") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a write, or what is wrong with it."""

    number: int  # from 1, without a CSV's head
    item: dict[str, Any] | None
    why: str = ""


def read(lines: Iterable[str], file_format: str, how: Mapped) -> Iterator[Row]:
    """The rows of a file, none skipped; raises BadRow for a head that lacks a mapped column."""
    raw = _csv(lines, how) if file_format == "csv" else _ndjson(lines)
    for number, row in enumerate(raw, 1):
        try:
            if isinstance(row, BadRow):
                raise row
            yield Row(number, how.item(row))
        except BadRow as error:
            yield Row(number, None, str(error))


def _csv(lines: Iterable[str], how: Mapped) -> Iterator[Mapping[str, Any]]:
    reader = csv.DictReader(lines)
    head = reader.fieldnames or ()
    missing = [column for column in how.columns.values() if column not in head]
    if missing:
        raise BadRow(f"there is no column {missing[0]!r}; there are: {', '.join(head)}")
    try:
        yield from reader
    except csv.Error as error:
        raise BadRow(f"line {reader.line_num} is no CSV: {error}") from None


def _ndjson(lines: Iterable[str]) -> Iterator[Mapping[str, Any] | BadRow]:
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield row if isinstance(row, dict) else BadRow("the line is no JSON object")
