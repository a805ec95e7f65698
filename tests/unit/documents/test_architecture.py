"""docs/architecture.md names files and functions that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
FUNCTIONS = sorted(set(re.findall(r"\[`([\w.]+)`\]\(\.\./([\w/]+\.py)\)", PAGE)))
FILES = sorted(set(re.findall(r"`((?:api|workers|webhooks|models|tests)/[\w/]+\.\w+)`", PAGE)))


def _names(path: str) -> set[str]:
    """The functions and classes of a module, and the functions of its classes."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (
                one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            )
            found.update(f"{node.name}.{one.name}" for one in inner)
    return found


@pytest.mark.parametrize(("function", "path"), FUNCTIONS)
def test_a_function_that_it_names_is_in_the_file_that_it_links(function: str, path: str) -> None:
    assert function in _names(path)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_it_names_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_it_tells_the_whole_way() -> None:
    steps = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert steps == list(range(1, 16))
    assert len(FUNCTIONS) > 30
