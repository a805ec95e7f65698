"""The mapping of columns to fields, without case and outer spaces, never guessed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from api.cli.importing.errors import BadRow
from api.cli.importing.kinds import RowField, RowKind

REJECT_LINE, REJECT_REASON, REJECT_TEXT = "reject_line", "reject_reason", "reject_text"
REJECT_COLUMNS = frozenset({REJECT_LINE, REJECT_REASON})  # of --rejects: not imported
ALL_OTHERS = "*"
SHOWN_MAX = 20  # columns in a message


def plain(name: str) -> str:
    """A column's name for comparison."""
    return name.strip().casefold()


@dataclass(frozen=True, slots=True)
class Naming:
    """The options about columns."""

    kind: RowKind
    mapped: Mapping[str, str]  # field → column
    constants: Mapping[str, str]  # field → value for cells that are empty or missing
    ignored: Collection[str]  # columns; `*`: all without a field

    def column_of(self, field: str) -> str:
        """The column of a field, for comparison."""
        return plain(self.mapped.get(field, field))

    def indexes(self, names: Sequence[str]) -> Mapping[str, int]:
        """The index of each field in a row with these columns; raises BadRow."""
        found = {plain(name): index for index, name in enumerate(names)}
        _refuse_doubles(names, found)
        self._refuse_missing(names, found)
        self._refuse_unknown(names)
        columns = {field: self.column_of(field) for field in self.kind.fields}
        return {field: found[name] for field, name in columns.items() if name in found}

    def refuse_unmapped(self, names: Sequence[str]) -> None:
        """Raise BadRow if --map names a missing column."""
        found = {plain(name) for name in names}
        for column in self.mapped.values():
            if plain(column) not in found:
                raise BadRow(f"there is no column {column!r}; there are: {listed(names)}")

    def count(self, names: Sequence[str]) -> int:
        """How many of these columns a field, --map or --ignore names."""
        return sum(self._is_known(plain(name)) for name in names)

    def _refuse_missing(self, names: Sequence[str], found: Mapping[str, int]) -> None:
        missing = [
            name for name, field in self.kind.fields.items()
            if field.is_needed and name not in self.constants and self.column_of(name) not in found
        ]  # fmt: skip
        if missing:
            said = [self._missing(name, names) for name in missing]
            raise BadRow("; ".join(said) + f". There are: {listed(names)}")

    def _missing(self, name: str, names: Sequence[str]) -> str:
        used = {self.column_of(field) for field in self.kind.fields}
        free = [column for column in names if plain(column) not in used]
        near = closest(name, self.kind.fields[name], free)
        column = near.strip() if near is not None else "COLUMN"
        is_it = f": is it {near!r}? Then" if near is not None else ":"
        return f"no column for {name}{is_it} give --map {name}={_shell(column)}"

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        if ALL_OTHERS in self.ignored:
            return
        unknown = [name for name in names if not self._is_known(plain(name))]
        if unknown:
            ignore = " ".join(f"--ignore {_shell(name)}" for name in unknown[:SHOWN_MAX])
            raise BadRow(
                f"{listed(unknown)}: unknown. Say which field a column holds with"
                f" --map FIELD=COLUMN, or leave it out with {ignore}"
            )

    def _is_known(self, name: str) -> bool:
        return (
            name in {self.column_of(field) for field in self.kind.fields}
            or name in {plain(column) for column in self.ignored}
            or name in self.kind.ignored
            or name in REJECT_COLUMNS
        )


def closest(name: str, field: RowField, columns: Sequence[str]) -> str | None:
    """The most similar column to a field, only for a suggestion."""
    by_name = {_letters(column): column for column in columns}
    for hint in (name, *field.hints):
        if _letters(hint) in by_name:
            return by_name[_letters(hint)]
    near = get_close_matches(_letters(name), by_name, 1, 0.7)
    return by_name[near[0]] if near else None


def listed(names: Sequence[str]) -> str:
    """Column names for a message."""
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(repr(name[:60]) for name in names[:SHOWN_MAX]) + more


def _refuse_doubles(names: Sequence[str], found: Mapping[str, int]) -> None:
    for index, name in enumerate(names):
        if found[plain(name)] != index:
            raise BadRow(
                f"columns {index + 1} and {found[plain(name)] + 1} are both named {name.strip()!r}"
            )


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _shell(name: str) -> str:
    return name if name.replace("_", "").isalnum() else repr(name)
