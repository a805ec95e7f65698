"""Two types of import contracts that allow by list: what is not listed turns them red.

Read by import-linter from pyproject.toml. Written against its 2.16: `Contract`, `ContractCheck`,
`fields` and `output` are its documented way to add a type.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

FREE = sys.stdlib_module_names | {"_typeshed", "settings"}  # settings.py has a contract of its own


class LibraryHomes(Contract):
    """Each third-party library is imported by the modules and packages that are listed as its home.

    `homes` has lines such as `aiohttp: webhooks`. A library without a line is a fault, and so is a
    line that no import needs any more.
    """

    type_name = "library_homes"
    homes = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Whether every library is at home."""
        homes = dict(_home(str(line)) for line in self.homes)  # type: ignore[attr-defined]
        libraries = {name for name in graph.modules if graph.is_module_squashed(name)} - FREE
        faults = [
            f"{importer} imports {library} (l.{line}), whose home is {homes.get(library) or 'none'}"
            for library in sorted(libraries)
            for importer in sorted(graph.find_modules_that_directly_import(library))
            if not _is_in(importer, homes.get(library, ()))
            for line in _lines(graph, importer, library)
        ]
        faults += [
            f"{name} has a home and is not imported" for name in sorted({*homes} - libraries)
        ]
        return _checked(faults)

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Each import that is not allowed."""
        _render(check)


class Only(Contract):
    """`importers` import nothing but themselves and what is in `allowed`."""

    type_name = "only"
    importers = fields.ListField(subfield=fields.StringField())
    allowed = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Whether nothing else is imported."""
        importers = [str(name) for name in self.importers]  # type: ignore[attr-defined]
        allowed = [*importers, *(str(name) for name in self.allowed)]  # type: ignore[attr-defined]
        return _checked(
            f"{importer} imports {imported} (l.{line})"
            for importer in sorted(name for name in graph.modules if _is_in(name, importers))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if not _is_in(imported, allowed)
            for line in _lines(graph, importer, imported)
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Each import that is not allowed."""
        _render(check)


def _home(line: str) -> tuple[str, list[str]]:
    library, _, homes = line.partition(":")
    return library.strip(), homes.split()


def _is_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in packages)


def _lines(graph: ImportGraph, importer: str, imported: str) -> Iterator[int]:
    details = graph.get_import_details(importer=importer, imported=imported)
    yield from (one["line_number"] for one in details)


def _checked(faults: Iterable[str]) -> ContractCheck:
    found = list(faults)
    return ContractCheck(kept=not found, metadata={"faults": found})


def _render(check: ContractCheck) -> None:
    for fault in check.metadata["faults"]:
        output.print_error(f"- {fault}", bold=False)
