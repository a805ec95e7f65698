"""docs/security.md judges every requirement of levels 1 and 2, once, and names tests that exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/security.md").read_text()
ROWS: list[tuple[str, str, str]] = re.findall(
    r"^\| (\d[\d., ]+) \| ([^|]+) \|(.*)\|$", TEXT, re.MULTILINE
)
JUDGEMENTS = ("met", "part", "operator", "not met", "–")

# How many requirements of levels 1 and 2 each section of ASVS 5.0.0 has.
SECTIONS = {
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2, "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1,
    "3.2": 2, "3.3": 4, "3.4": 6, "3.5": 5, "3.7": 2, "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4,
    "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3, "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5,
    "6.6": 3, "6.8": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2, "8.1": 2,
    "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4, "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 11,
    "10.5": 5, "10.6": 2, "10.7": 3, "11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1,
    "11.6": 1, "12.1": 3, "12.2": 2, "12.3": 4, "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5,
    "14.1": 2, "14.2": 4, "14.3": 3, "15.1": 3, "15.2": 3, "15.3": 7, "16.1": 1, "16.2": 5,
    "16.3": 4, "16.4": 3, "16.5": 3, "17.1": 1, "17.2": 4, "17.3": 2,
}  # fmt: skip


def test_it_judges_every_requirement_once() -> None:
    judged = [number for numbers, _, _ in ROWS for number in numbers.split(", ")]
    found = Counter(number.rpartition(".")[0] for number in judged)
    assert len(judged) == len(set(judged))
    assert found == SECTIONS
    assert {judgement for _, judgement, _ in ROWS} == set(JUDGEMENTS)


def test_its_sums_are_right() -> None:
    sums: Counter[str] = Counter()
    for numbers, judgement, _ in ROWS:
        sums[judgement] += len(numbers.split(", "))
    said = (
        f"Of {sums.total()} requirements {sums['met']} are met, {sums['part']} in part,"
        f" {sums['not met']} not;"
    )
    assert said in " ".join(TEXT.split()), (said, sums)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+/test_\w+\.py)`", TEXT))))
def test_every_test_that_it_names_is_there(name: str) -> None:
    assert (ROOT / "tests" / name).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w./#-]+)\)", TEXT))))
def test_every_link_leads_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    linked = ROOT / "docs" / path
    assert linked.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
        assert anchor in {one.lower().replace(" ", "-") for one in headings}
