"""docs/reliability.md names tests for each promise and line of the gate: they must be there.

Each promise has an id; the tests that show it carry `pytest.mark.promise` with that id.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/reliability.md").read_text()
LINES = 44  # of the gate


def rows(chapter: str) -> list[tuple[str, str]]:
    """The first and the last column of a chapter's table."""
    text = TEXT.split(f"## {chapter}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)[1:]


def marked() -> dict[str, set[str]]:
    """The promises that each file below tests/ is marked with."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        marks = re.findall(r"^[^#\n]*mark\.promise\(([^)]+)\)", path.read_text(), re.MULTILINE)
        ids = {one for mark in marks for one in re.findall(r'"([^"]+)"', mark)}
        if ids and path != Path(__file__):
            found[path.relative_to(ROOT / "tests").as_posix()] = ids
    return found


PROMISES, GATE = rows("Promises"), rows("The gate")
GLANCE = {number: shown for number, shown in rows("At a glance") if number.startswith("P")}
MARKED = marked()


def test_every_promise_and_every_line_of_the_gate_has_a_row() -> None:
    assert [promise[:2] for promise, _ in PROMISES] == [f"P{nth}" for nth in range(1, 9)]
    assert list(GLANCE) == [f"P{nth}" for nth in range(1, len(GLANCE) + 1)]
    assert len(GATE) >= LINES
    assert len({line for line, _ in GATE}) == len(GATE)


@pytest.mark.parametrize(
    ("line", "shown"), PROMISES + GATE, ids=[line for line, _ in PROMISES + GATE]
)
def test_every_test_that_it_names_is_there(line: str, shown: str) -> None:
    source = ""
    for name in re.findall(r"`([^`]+)`", shown):
        if name.endswith(".py"):
            source = (ROOT / "tests" / name).read_text()
        assert name.endswith(".py") or re.search(rf"^def {name}\(", source, re.MULTILINE), name
    assert source, line


def test_every_promise_has_a_test_and_every_id_that_is_cited_exists() -> None:
    assert {number for ids in MARKED.values() for number in ids} == GLANCE.keys()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        cited = set(re.findall(r"\bP[1-9]\d?\b", page.read_text()))
        assert cited <= GLANCE.keys(), page


@pytest.mark.parametrize(
    ("number", "shown"), [*GLANCE.items(), *((line[:2], shown) for line, shown in PROMISES)]
)
def test_every_file_that_a_promise_names_carries_its_id(number: str, shown: str) -> None:
    for name in re.findall(r"`([\w/]+\.py)`", shown):
        assert number in MARKED.get(name, set()), name


@pytest.mark.parametrize("target", re.findall(r"\]\(([\w./#-]+)\)", TEXT))
def test_every_link_leads_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / path).read_text(), re.MULTILINE)
    assert not anchor or anchor in {one.lower().replace(" ", "-") for one in headings}
