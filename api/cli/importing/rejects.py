"""Refused rows in the format of their file: once corrected, `unbroken import` reads them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.errors import CannotRun
from api.cli.importing.columns import REJECT_COLUMNS, REJECT_LINE, REJECT_REASON, REJECT_TEXT, plain
from api.cli.importing.mapping import MappedRow
from api.cli.importing.source_rows import Raw, Table


@dataclass
class Rejects:
    """The file of --rejects. Two columns before those of the source hold line and reason; the
    import ignores them."""

    path: Path
    table: Table

    def begin(self, kept_bytes: int) -> None:
        """Truncate the file to the settled rows; if nothing is settled it must be new."""
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if size and not kept_bytes:
                raise CannotRun(
                    f"{self.path} is there already: name another --rejects, or remove it"
                )
            if size > kept_bytes:
                os.truncate(self.path, kept_bytes)
        except OSError as error:
            raise CannotRun(f"{self.path}: {error.strerror}") from None

    def add(self, refused: Iterable[tuple[MappedRow, str]]) -> int:
        """Write rows with their reasons; return the length of the file."""
        try:
            with self.path.open("a", encoding="utf-8", newline="") as stream:
                text = self._csv if self.table.head else self._ndjson
                is_new = stream.tell() == 0
                stream.write(text(refused, is_new))
                stream.flush()
                os.fsync(stream.fileno())
                return stream.tell()
        except OSError as error:
            raise CannotRun(f"{self.path}: {error.strerror}") from None

    def _csv(self, refused: Iterable[tuple[MappedRow, str]], is_new: bool) -> str:
        lines = _Lines()
        writer = csv.writer(lines, delimiter=self.table.delimiter)
        kept = [
            index for index, name in enumerate(self.table.head) if plain(name) not in REJECT_COLUMNS
        ]
        if is_new:
            names = [self.table.head[index] for index in kept]
            writer.writerow([REJECT_LINE, REJECT_REASON, *names])
        for row, why in refused:
            writer.writerow([row.raw.line, why, *_kept(row.raw.original, kept, self.table.head)])
        return "".join(lines.texts)

    def _ndjson(self, refused: Iterable[tuple[MappedRow, str]], is_new: bool) -> str:
        return "".join(_json(_marked(row.raw, why)) + "\n" for row, why in refused)


class _Lines:
    """The file object for csv.writer."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        self.texts.append(text)


def _kept(cells: Sequence[str], kept: Sequence[int], head: Sequence[str]) -> list[str]:
    """The cells of a row unchanged, even if there are too few or too many."""
    return [cells[index] for index in kept if index < len(cells)] + list(cells[len(head) :])


def _marked(raw: Raw, why: str) -> dict[str, object]:
    """A refused object with its reason; a value that is no object is kept as text."""
    record: dict[str, object] = {REJECT_LINE: raw.line, REJECT_REASON: why}
    if not raw.names:
        return record | {REJECT_TEXT: raw.original}
    fields = zip(raw.names, raw.values, strict=True)
    return record | {name: value for name, value in fields if plain(name) not in REJECT_COLUMNS}


def _json(record: dict[str, object]) -> str:
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: write its escape
        return json.dumps(record)
    return text
