"""A streak's calendar, and the explanation of its count in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

CELL = 15  # pixels between cells
LEFT, TOP = 34, 20  # room for the labels of days and months
WEEKS_LEFT, WEEKS = 58, 13  # room for a quarter's label, and its weeks
MONTH = 22  # pixels between months: the label is above the cell
_DAYS = ("Mon", "", "Wed", "", "Fri", "", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ALIVE = ("recorded", "grace", "freeze", "protected")
_NAMES = {"daily": "day", "weekly": "week", "monthly": "month"}

Period = Mapping[str, Any]  # from the API's history


@dataclass(frozen=True, slots=True)
class Cell:
    """One period on the calendar."""

    x: int
    y: int
    status: str  # recorded | grace | freeze | protected | missed | pending
    mark: str  # the status, or the cause of a protected period
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label at the edge."""

    x: int
    y: int
    text: str


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """What a mark means."""

    status: str
    mark: str
    text: str


@dataclass(frozen=True, slots=True)
class CalendarView:
    """The drawing."""

    width: int
    height: int
    cells: Sequence[Cell]
    labels: Sequence[Label]
    legend: Sequence[LegendEntry]  # of the marks on it


def calendar(kind: str, periods: Sequence[Period]) -> CalendarView:
    """Days in columns of weeks, weeks in rows of quarters, months in rows of years: the last two
    fit the width of a phone."""
    place = {"daily": _day, "weekly": _week, "monthly": _month}[kind]
    cells, labels = [], dict[tuple[int, int], str]()
    first = _first_day(periods[0]["period_key"]) if periods else date(1970, 1, 1)
    for period in periods:
        x, y = place(period["period_key"], first)
        mark = period.get("by") or period["status"]
        cells.append(Cell(x, y, period["status"], mark, _title(period)))
        for at, text in _labels(kind, period["period_key"], (x, y)):
            labels.setdefault(at, text)
    if kind == "daily":
        labels |= {(0, TOP + nth * CELL + 10): name for nth, name in enumerate(_DAYS) if name}
    named = [Label(x, y, text) for (x, y), text in labels.items()]
    width = max((cell.x for cell in cells), default=0) + CELL
    height = max((cell.y for cell in cells), default=0) + CELL
    return CalendarView(width, height, cells, named, _legend(cells))


_LEGEND = {  # in the order in which they are shown
    "recorded": "recorded",
    "grace": "forgiven",
    "freeze": "freeze",
    "pause": "pause",
    "rest_day": "rest day",
    "holiday": "holiday",
    "outage": "outage",
    "repair": "repaired",
    "earn_back": "earned back",
    "missed": "missed",
    "pending": "not recorded yet",
}


def _legend(cells: Sequence[Cell]) -> list[LegendEntry]:
    statuses = {cell.mark: cell.status for cell in cells}
    return [
        LegendEntry(statuses[mark], mark, text)
        for mark, text in _LEGEND.items()
        if mark in statuses
    ]


_SENTENCES = {
    "pending": "not recorded yet",
    "grace": "missed, forgiven by grace",
    "freeze": "missed, saved by a freeze",
}
_CAUSES = {
    "rest_day": "a rest day",
    "holiday": "a holiday",
    "pause": "a pause",
    "outage": "an outage",
    "repair": "a repair",
    "earn_back": "a later period that earned it back",
}


def _title(period: Period) -> str:
    sentence = _SENTENCES.get(period["status"], period["status"])
    if period["status"] == "protected":
        sentence = f"protected by {_CAUSES.get(period['by'], period['by'])}"
    return f"{period['period_key']}: {sentence}, count {period['count']}"


def _first_day(key: str) -> date:
    if "W" in key:
        return date.fromisocalendar(int(key[:4]), int(key[6:]), 1)
    return date.fromisoformat(key if len(key) > 7 else f"{key}-01")


def _day(key: str, first: date) -> tuple[int, int]:
    day = date.fromisoformat(key)
    monday = first - timedelta(days=first.weekday())
    return LEFT + (day - monday).days // 7 * CELL, TOP + day.weekday() * CELL


def _week(key: str, first: date) -> tuple[int, int]:
    began, (year, week) = first.isocalendar(), _week_of(key)
    quarter = _quarter(week)
    rows = (year - began[0]) * 4 + quarter - _quarter(began[1])
    return WEEKS_LEFT + (week - 1 - quarter * WEEKS) * CELL, rows * CELL


def _week_of(key: str) -> tuple[int, int]:
    """The ISO year and week in which a week begins."""
    year, week, _ = _first_day(key).isocalendar()
    return year, week


def _quarter(week: int) -> int:
    return min((week - 1) // WEEKS, 3)  # a year's 53rd week follows its 52nd


def _month(key: str, first: date) -> tuple[int, int]:
    return LEFT + (int(key[5:]) - 1) * MONTH, TOP + (int(key[:4]) - first.year) * CELL


def _labels(kind: str, key: str, at: tuple[int, int]) -> list[tuple[tuple[int, int], str]]:
    """The month above the week of its first days; the year, or year and week, before a row."""
    x, y = at
    if kind == "daily":
        return [((x, 12), _MONTHS[int(key[5:7]) - 1])] if int(key[8:]) <= 7 and y == TOP else []
    if kind == "weekly":
        year, week = _week_of(key)
        return [((0, y + 10), f"{year} W{_quarter(week) * WEEKS + 1}")]
    return [((x - 3, 12), _MONTHS[int(key[5:]) - 1]), ((0, y + 10), key[:4])]


def why(kind: str, periods: Sequence[Period]) -> list[str]:
    """The reasons for the count, the newest last."""
    noun = _NAMES[kind]
    chain = _chain(periods)
    recorded = [day for day in chain if day["status"] == "recorded"]
    if not recorded:
        return [f"No tick was recorded in these {noun}s."]
    saved = Counter(_saved_by(period) for period in chain)
    sentences = [_began(noun, periods, chain, recorded[0])]
    sentences.append(f"{_some(len(recorded), noun)} recorded since then, so the count is"
                f" {recorded[-1]['count']:,}.")  # fmt: skip
    for cause, count in saved.items():
        if cause:
            sentences.append(f"{_some(count, noun)} {cause}.")
    last = periods[-1]
    if last["status"] == "pending" and last["count"]:
        left = f"grace left: {last['grace_remaining']}"
        if last["freezes_remaining"]:
            left += f", freezes left: {last['freezes_remaining']}"
        sentences.append(f"This {noun} is not recorded yet; {left}.")
    if last["status"] == "protected" and last["count"]:
        cause = _CAUSES.get(last["by"], last["by"])
        sentences.append(f"This {noun} is protected by {cause}: nothing is lost without a tick.")
    if last["count"] == 0:
        sentences.append(f"The streak has broken since: too many {noun}s were missed.")
    return sentences


def _saved_by(period: Period) -> str | None:
    """What saved a period that was not recorded."""
    if period["status"] == "protected":
        return f"protected by {_CAUSES.get(period['by'], period['by'])}"
    causes = {"grace": "missed and forgiven by grace", "freeze": "missed and saved by a freeze"}
    return causes.get(period["status"])


def _chain(periods: Sequence[Period]) -> Sequence[Period]:
    """The periods since the run of the last recorded period began."""
    last = max(
        (n for n, period in enumerate(periods) if period["status"] == "recorded"), default=-1
    )
    first = last
    while first > 0 and periods[first - 1]["status"] in _ALIVE:
        first -= 1
    while first < last and periods[first]["status"] != "recorded":
        first += 1
    return periods[first : last + 1]


def _began(noun: str, periods: Sequence[Period], chain: Sequence[Period], first: Period) -> str:
    before = periods.index(chain[0])
    if before and periods[before - 1]["status"] == "missed":
        missed = periods[before - 1]["period_key"]
        return f"The {noun} {missed} was missed with no grace left: a new run began on" \
            f" {first['period_key']}."  # fmt: skip
    return f"The run began on {first['period_key']}."


def _some(count: int, noun: str) -> str:
    return f"1 {noun} is" if count == 1 else f"{count:,} {noun}s are"
