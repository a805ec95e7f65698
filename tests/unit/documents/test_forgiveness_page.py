"""The worked examples of docs/forgiveness.md: each table is what the walk says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from models.rules import forgiveness
from models.rules.periods import DAILY, period_of_day
from models.rules.streaks import Ranges, Rules, add
from models.rules.terms import BEGINNING, Terms
from models.streaks.forgiveness import FIELDS, forgiveness_of, ranges_of_days

PAGE = Path(__file__).parents[3] / "docs" / "forgiveness.md"
_EPOCH = date(1970, 1, 1)
ROW = re.compile(
    r"^\| \w{3} (\d{4}-\d\d-\d\d) \| (x?|\d+) ?\| (.*?) \| (\d+) \| (\d+) \| (\d+) \|$", re.M
)


@dataclass(frozen=True)
class Example:
    """One section with a table."""

    title: str
    definition: Mapping[str, Any]
    holidays: Ranges
    rows: list[tuple[str, ...]]

    def walked(self) -> list[tuple[str, ...]]:
        """The rows as the walk has them."""
        recorded: Ranges = ()
        plenty: Ranges = ()
        cells = {day: tick for day, tick, *_ in self.rows}  # a number: so many ticks
        for day, tick in cells.items():
            recorded = add(recorded, _period(day)) if tick else recorded
            if tick.isdecimal() and int(tick) >= self.definition["earn_back"]["times"]:
                plenty = add(plenty, _period(day))
        fields = {name: self.definition[name] for name in FIELDS if name in self.definition}
        rules = Rules(
            self.definition.get("grace_periods", 0), True,
            forgiveness_of(DAILY, fields, self.holidays),
        )  # fmt: skip
        terms = Terms(DAILY, ((BEGINNING, rules),), plenty=plenty)
        return [
            (
                (day := (_EPOCH.fromordinal(_EPOCH.toordinal() + one.period)).isoformat()),
                cells[day] if one.what == "recorded" else "",
                f"{one.what} by {one.by}" if one.by else one.what,
                str(one.count), str(one.grace_remaining), str(one.freezes_remaining),
            )
            for one in forgiveness.explain(recorded, terms, _period(self.rows[-1][0]))
        ]  # fmt: skip


def _period(day: str) -> int:
    return period_of_day(DAILY, (date.fromisoformat(day) - _EPOCH).days)


def examples() -> list[Example]:
    found = []
    for section in PAGE.read_text().split("\n## ")[1:]:
        blocks = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.S)]
        rows = ROW.findall(section)
        if rows:
            dates = [day for block in blocks for day in block.get("dates", ())]
            definition = {key: value for block in blocks for key, value in block.items()}
            title = section.partition("\n")[0]
            found.append(Example(title, definition, ranges_of_days(map(_period, dates)), rows))
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_each_table_is_what_the_walk_says(example: Example) -> None:
    assert example.walked() == example.rows


def test_every_field_has_a_worked_example() -> None:
    # Others decide what is recorded, not how it is walked.
    walked = set(FIELDS) - {"week_starts_on", "day_starts_at"}
    shown = {name for example in EXAMPLES for name in FIELDS if name in example.definition}
    assert shown == walked


def test_the_import_is_sent_as_the_reference_says() -> None:
    document = json.loads((PAGE.parent / "openapi.json").read_text())
    (path,) = re.findall(r"\$UNBROKEN(/\S+)\"", PAGE.read_text())
    operation = document["paths"][path.replace("bank_holidays", "{calendar_code}")]["post"]
    (kind,) = operation["requestBody"]["content"]
    assert f"Content-Type: {kind}" in PAGE.read_text()
