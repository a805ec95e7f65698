"""docs/reliability.md names tests for each promise and line of the gate: they must be there."""

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


PROMISES, GATE = rows("Promises"), rows("The gate")


def test_every_promise_and_every_line_of_the_gate_has_a_row() -> None:
    assert [promise[:2] for promise, _ in PROMISES] == [f"P{nth}" for nth in range(1, 9)]
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


@pytest.mark.parametrize("target", re.findall(r"\]\(([\w./#-]+)\)", TEXT))
def test_every_link_leads_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / path).read_text(), re.MULTILINE)
    assert not anchor or anchor in {one.lower().replace(" ", "-") for one in headings}
