"""docs/operations.md: what it says a million ticks cost is what they cost."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.e2e.running import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
TABLE = PAGE.partition("<!-- footprint -->")[2].partition("<!-- /footprint -->")[0]
SAID = {
    name: float(value.replace(",", ""))
    for name, value in re.findall(r"^\| ([^|]+?) \| ([\d,]+) \|$", TABLE, re.MULTILINE)
}
ROOM = 1.35  # a small run has more of what is there once; a row that doubles is seen
REWRITTEN = ("a participant", "the state of a streak")  # they grow with each time: 200,000 here


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    """A small run: bytes in Postgres hardly depend on how many rows there are."""
    command = [sys.executable, "-m", "tests.bench.footprint", "--ticks", "4000"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=280)
    found: dict[str, float] = json.loads((ROOT / "build" / "footprint.json").read_text())
    return found


def test_the_page_says_every_figure_that_is_measured(measured: dict[str, float]) -> None:
    assert set(SAID) == set(measured)


def test_rows_are_as_large_as_the_page_says(measured: dict[str, float]) -> None:
    names = [
        name
        for name in SAID
        if name.startswith("bytes in Postgres") and not name.endswith(REWRITTEN)
    ]
    assert len(names) == 5
    for name in names:
        assert SAID[name] / ROOM < measured[name] < SAID[name] * ROOM, name


def test_the_sum_of_the_page_follows_from_its_table() -> None:
    seconds = sum(value for name, value in SAID.items() if name.startswith("CPU seconds"))
    assert 240 < seconds < 360, "about 5 minutes"
    log = sum(value for name, value in SAID.items() if "write-ahead log" in name)
    assert f"write {log / 1_000:.1f} GB of write-ahead log" in " ".join(PAGE.split())
    for what, days in (("a tick in the ledger", 400), ("a fact", 90), ("a settled delivery", 90),
                       ("an attempt in the log", 30)):  # fmt: skip
        kept = SAID[f"bytes in Postgres, {what}"] * days / 1_000
        assert f"{kept:.0f} GB of" in " ".join(PAGE.split()), what
