"""docs/delivery.md names a test for each promise: each must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROWS = re.findall(
    r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs/delivery.md").read_text(), re.MULTILINE
)[1:]


def test_the_table_has_a_row_for_every_promise() -> None:
    assert len(ROWS) >= 27


@pytest.mark.parametrize(("promise", "shown"), ROWS, ids=[promise for promise, _ in ROWS])
def test_every_test_that_it_names_is_there(promise: str, shown: str) -> None:
    source = ""
    for name in re.findall(r"`([^`]+)`", shown):
        if name.endswith(".py"):
            source = (ROOT / "tests" / name).read_text()
        assert name.endswith(".py") or re.search(rf"^def {name}\(", source, re.MULTILINE), name
    assert source, promise
