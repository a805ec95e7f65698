"""Cases of tests are the same in each process: xdist runs nothing where two processes differ."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
AT_RANDOM = {
    "uuid1",
    "uuid4",
    "uuid7",
    "urandom",
    "token_hex",
    "random",
    "randbytes",
    "now",
    "time",
}


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that are made when a module is read: those of a function come later."""
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from calls(child)


def changing(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Calls in the cases of a module that give something else each time."""
    for marked in calls(tree):
        if not ast.unparse(marked.func).endswith("parametrize"):
            continue
        for call in calls(marked):
            name = ast.unparse(call.func)
            stamped = name == "gzip.compress" and "mtime" not in {one.arg for one in call.keywords}
            if stamped or name.rpartition(".")[2] in AT_RANDOM:
                yield call.lineno, name


def test_no_case_is_made_at_random_or_by_the_clock() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line} {name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for line, name in changing(ast.parse(path.read_text()))
    ]
    assert found == [], "write the value down: it is part of the test's name"


def test_what_changes_is_found() -> None:
    cases = "uuid4(), gzip.compress(b''), gzip.compress(b'', mtime=0), lambda: uuid4()"
    tree = ast.parse(f"@pytest.mark.parametrize('x', [{cases}])\ndef test(): ...")
    assert [name for _, name in changing(tree)] == ["uuid4", "gzip.compress"]
