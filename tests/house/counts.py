"""The shape of the product, counted: folders, files, functions, cycles, repeated code, `Any`.

`make counts` prints it, with the path of a tick. Of another checkout only what is read is counted:
`python -m tests.house.counts ROOT`. Migrations are history and are left out.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.house.tick_path import ROOT, measured

PRODUCT = ("api", "workers", "webhooks", "models")
ALIKE_LINES_MIN = 4  # shorter repetitions are the language's, not ours
_SKIPPED = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    """One file of the product, read and parsed."""

    path: str
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """As it is imported."""
        return self.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    @property
    def lines(self) -> int:
        """All of them: blank ones and comments too."""
        return self.text.count("\n")

    def functions(self) -> list[tuple[str, int]]:
        """Name and lines of each function, its docstring included."""
        return [
            (f"{self.path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]


@dataclass(frozen=True)
class Counts:
    """What is counted of a checkout."""

    lines: dict[str, int]  # by top folder
    modules: dict[str, int]  # by folder, without __init__.py
    files_longest: dict[str, int]
    functions: int
    functions_median: float
    functions_longest: dict[str, int]
    cycles: list[list[str]]
    repeated_pairs: int
    any_uses: int


def read(root: Path) -> list[Module]:
    """The product's modules under a root."""
    found = []
    for path in sorted(path for top in PRODUCT for path in (root / top).rglob("*.py")):
        if "migrations" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        found.append(Module(path.relative_to(root).as_posix(), text, ast.parse(text)))
    return found


def count(modules: Sequence[Module]) -> Counts:
    """All counts of some modules."""
    functions = dict(one for module in modules for one in module.functions())
    lines: Counter[str] = Counter()
    for module in modules:
        lines[module.path.split("/")[0]] += module.lines
    return Counts(
        lines=dict(lines),
        modules=modules_by_folder(modules),
        files_longest=_longest({module.path: module.lines for module in modules}),
        functions=len(functions),
        functions_median=statistics.median(functions.values()),
        functions_longest=_longest(functions),
        cycles=cycles(imports(modules)),
        repeated_pairs=repeated_pairs(modules),
        any_uses=sum(_any_uses(module) for module in modules),
    )


def _longest(lengths: dict[str, int]) -> dict[str, int]:
    return dict(Counter(lengths).most_common(5))


def modules_by_folder(modules: Sequence[Module]) -> dict[str, int]:
    """How many modules each folder holds, not those of folders within; largest first."""
    folders = Counter(
        module.path.rpartition("/")[0] for module in modules if "__init__" not in module.path
    )
    return dict(folders.most_common())


# -- imports ---------------------------------------------------------------------------------


def imports(modules: Sequence[Module]) -> dict[str, set[str]]:
    """Which module imports which, imports for types and inside functions included."""
    names = {module.name for module in modules}
    return {module.name: set(_imported(module, names)) for module in modules}


def _imported(module: Module, names: set[str]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from names.intersection(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found = full if full in names else node.module
                if found in names and found != module.name:
                    yield found


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other."""
    reached = {name: _reached(name, edges) for name in edges}
    groups = {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in edges
        if name in reached[name]
    }
    return sorted(sorted(group) for group in groups)


def _reached(name: str, edges: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    open_names = [name]
    while open_names:
        fresh = edges[open_names.pop()] - found
        found |= fresh
        open_names += fresh
    return found


# -- repeated code ---------------------------------------------------------------------------


def repeated_pairs(modules: Sequence[Module]) -> int:
    """Pairs of places with the same four lines of code or more; a longer stretch is one pair."""
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for module in modules:
        code = list(_code(module))
        for start in range(len(code) - ALIKE_LINES_MIN + 1):
            places[tuple(code[start : start + ALIKE_LINES_MIN])].append((module.path, start))
    pairs = {
        (first, second)
        for alike in places.values()
        for number, first in enumerate(alike)
        for second in alike[number + 1 :]
    }
    return sum(((a[0], a[1] - 1), (b[0], b[1] - 1)) not in pairs for a, b in pairs)


def _code(module: Module) -> Iterator[str]:
    """The lines of code of a module, however they are laid out and commented."""
    skipped = _lines_without_code(module)
    lines: dict[int, list[str]] = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in _SKIPPED and token.start[0] not in skipped:
            lines[token.start[0]].append(token.string)
    for line in sorted(lines):
        if len(lines[line]) > 2:  # a closing bracket is like any other
            yield " ".join(lines[line])


def _lines_without_code(module: Module) -> set[int]:
    """Lines of imports and docstrings."""
    found: set[int] = set()
    for node in ast.walk(module.tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            found.update(range(node.lineno, (node.end_lineno or 0) + 1))  # type: ignore[attr-defined]
    return found


def _any_uses(module: Module) -> int:
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(module.tree))


# -- shown -----------------------------------------------------------------------------------


def rows(counts: Counts) -> Iterator[tuple[str, object]]:
    """What a reader is shown, one figure each."""
    for folder, lines in counts.lines.items():
        yield f"lines in {folder}", lines
    for folder, modules in list(counts.modules.items())[:8]:
        yield f"modules in {folder}", modules
    for title, longest in (("file", counts.files_longest), ("function", counts.functions_longest)):
        name, lines = next(iter(longest.items()))
        yield f"lines of the longest {title}", f"{lines} ({name})"
    yield "functions", counts.functions
    yield "lines of the median function", counts.functions_median
    yield "import cycles", len(counts.cycles)
    yield "pairs of repeated code", counts.repeated_pairs
    yield "uses of Any", counts.any_uses


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.house.counts", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, metavar="ROOT", help="another checkout")
    parser.add_argument("--json", action="store_true", help="print all counts as JSON")
    options = parser.parse_args()
    counts = count(read(options.root or ROOT))
    path = None if options.root else measured().counts()
    if options.json:
        sys.stdout.write(json.dumps(asdict(counts) | {"tick_path": path}) + "\n")
        return
    for title, figure in rows(counts):
        sys.stdout.write(f"{title:40} {figure}\n")
    for stage, figures in (path or {}).items():
        for title, figure in figures.items():
            sys.stdout.write(f"{f'path of a tick, {stage}: {title}':40} {figure}\n")


if __name__ == "__main__":
    main()
