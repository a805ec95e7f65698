"""Raw rows of a file: CSV with a header, or NDJSON; parsed strictly, one at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from api.cli.importing.cells import json_value
from api.cli.importing.columns import Naming
from api.cli.importing.errors import BadFile, BadRow
from api.cli.importing.source import BOM

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Raw:
    """One row: its names and values, or the reason for its refusal."""

    line: int  # of the file, from 1, where the row begins
    original: Sequence[str] | str  # its cells, or its NDJSON line
    names: Sequence[str] = ()
    values: Sequence[Any] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file with their shared properties."""

    rows: Iterator[Raw]
    delimiter: str = ""  # of a CSV
    head: Sequence[str] = ()  # of a CSV


def table(lines: Iterable[str], file_format: str, delimiter: str | None, naming: Naming) -> Table:
    """A file's rows. Raises BadFile for a header without a required field and, while rows are read,
    for an error that makes the following rows doubtful."""
    if file_format == "ndjson":
        return Table(_ndjson(lines))
    given = iter(lines)
    first = next(given, "")
    if not first.strip():
        raise BadFile("the file has no head: its first line names the columns")
    used = delimiter or _guessed(first, naming)
    records = _records(chain([first], given), used)
    _, head = next(records)
    try:
        naming.refuse_unmapped(head)
        naming.indexes(head)
    except BadRow as error:
        raise BadFile(f"the head is not understood: {error}") from None
    return Table(_csv(records, head), used, head)


# -- CSV -------------------------------------------------------------------------------------


def _guessed(head: str, naming: Naming) -> str:
    """The delimiter with which most columns of the header are known; raises BadFile on a tie."""
    counts = {
        delimiter: naming.count(next(csv.reader([head], delimiter=delimiter), []))
        for delimiter in DELIMITERS.values()
    }
    best = max(counts.values())
    found = [delimiter for delimiter, count in counts.items() if count == best]
    if best == 0:  # no column is known: report missing columns for the most likely delimiter
        return max(DELIMITERS.values(), key=head.count)
    if len(found) > 1 and any(delimiter in head for delimiter in found):
        raise BadFile("the head does not say what separates its columns: give --delimiter")
    return found[0]


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records with their first line number; raises BadFile if quotes do not match."""
    held: list[str] = []  # lines of the current record
    reader = csv.reader(_holding(lines, held), delimiter=delimiter, strict=True)
    while True:
        held.clear()
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile(_unreadable(begins, held, delimiter, str(error))) from None
        if cells:
            yield begins, cells


def _holding(lines: Iterable[str], held: list[str]) -> Iterator[str]:
    for line in lines:
        held.append(line)
        yield line


def _unreadable(begins: int, held: Sequence[str], delimiter: str, error: str) -> str:
    opened = _last_quote(held, delimiter)
    if opened is None:
        return f"line {begins} is no CSV: {error}"
    return (
        f"line {begins + opened}: a quote opens here and is not closed as CSV asks for"
        f" (read up to line {begins + len(held) - 1}: {error}). Nothing from this line on is used"
    )


def _last_quote(held: Sequence[str], delimiter: str) -> int | None:
    """The line, from 0, in which the last quoted cell opens."""
    opened, is_inside, before = None, False, delimiter
    for number, line in enumerate(held):
        for character in line:
            if character == '"' and not is_inside and before in (delimiter, "\n", "\r"):
                opened, is_inside = number, True
            elif character == '"':
                is_inside = not is_inside  # a doubled quote toggles twice
            before = character
    return opened


def _csv(records: Iterator[tuple[int, list[str]]], head: Sequence[str]) -> Iterator[Raw]:
    for line, cells in records:
        yield Raw(line, cells, head, cells, _shape(cells, head))


def _shape(cells: Sequence[str], head: Sequence[str]) -> str:
    if cells[0].startswith(BOM):
        return "the row begins with a byte order mark: were files joined here?"
    if len(cells) == len(head):
        return ""
    return f"the row has {len(cells)} cells, the head {len(head)}"


# -- NDJSON ----------------------------------------------------------------------------------


def _ndjson(lines: Iterable[str]) -> Iterator[Raw]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _object(number, line.rstrip("\r\n"))


def _object(number: int, line: str) -> Raw:
    try:
        row = json_value(line)
    except BadRow as error:
        return Raw(number, line, why=f"the line {error}")
    if not isinstance(row, dict):
        return Raw(number, line, why=_no_json(line))
    return Raw(number, line, list(row), list(row.values()))


def _no_json(line: str) -> str:
    if line.startswith(BOM):
        return "the line begins with a byte order mark: were files joined here?"
    return "the line is no JSON object"
