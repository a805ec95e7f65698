"""Mapping of rows to items of a kind. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unbroken_client.many import BYTES_MAX

from api.cli.importing.cells import is_empty
from api.cli.importing.columns import Naming
from api.cli.importing.errors import BadRow
from api.cli.importing.kinds import Item
from api.cli.importing.source_rows import Raw

_ESCAPED_MAX = 12  # ASCII characters for one: a surrogate pair
SHAPES_MAX = 1_000  # cached sets of names of NDJSON objects


@dataclass(frozen=True, slots=True)
class MappedRow:
    """A row's item, or the reason for its refusal."""

    raw: Raw
    item: Item | None
    why: str = ""


@dataclass
class Mapper:
    """Maps the rows of a file to items."""

    naming: Naming
    timezone: str | None = None  # of instants in rows without a zone
    _indexes: dict[tuple[str, ...], Mapping[str, int]] = field(default_factory=dict, repr=False)

    def rows(self, raw: Iterator[Raw]) -> Iterator[MappedRow]:
        """All rows of a file, including refused ones."""
        for text in raw:
            try:
                yield MappedRow(text, self.item(text))
            except BadRow as error:
                yield MappedRow(text, None, str(error))

    def item(self, raw: Raw) -> Item:
        """The item of a row; raises BadRow."""
        if raw.why:
            raise BadRow(raw.why)
        cells = self._cells(raw)
        made = {
            name: self._read(name, cells[name]) for name in self.naming.kind.fields if name in cells
        }
        self._refuse_empty(made)
        self.naming.kind.finish(made, self.timezone)
        _refuse_too_large(raw, made)
        return made

    def _cells(self, raw: Raw) -> dict[str, Any]:
        """The value of each field: its cell, or the option's value."""
        indexes = self._indexes_of(raw.names)
        cells: dict[str, Any] = dict(self.naming.constants)
        for name, index in indexes.items():
            if not is_empty(raw.values[index]):
                cells[name] = raw.values[index]
        return cells

    def _indexes_of(self, names: Sequence[str]) -> Mapping[str, int]:
        key = tuple(names)
        if key not in self._indexes:
            if len(self._indexes) >= SHAPES_MAX:
                self._indexes.clear()
            self._indexes[key] = self.naming.indexes(names)
        return self._indexes[key]

    def _read(self, name: str, value: Any) -> Any:
        try:
            return self.naming.kind.fields[name].read(value)
        except BadRow as error:
            raise BadRow(f"{name} {error}") from None

    def _refuse_empty(self, made: Item) -> None:
        empty = [
            name
            for name, column in self.naming.kind.fields.items()
            if column.is_needed and name not in made
        ]
        if empty:
            raise BadRow(f"{', '.join(empty)}: empty")


def _refuse_too_large(raw: Raw, item: Item) -> None:
    """Raise BadRow for an item too large for any request: it would end the import."""
    original = raw.original
    length = len(original) if isinstance(original, str) else sum(map(len, original))
    if length * _ESCAPED_MAX > BYTES_MAX and len(json.dumps(item)) > BYTES_MAX:
        raise BadRow("the row is larger than a request may be (950 KB)")
