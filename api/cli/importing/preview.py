"""The preview of an import that sends nothing: `--dry-run`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from unbroken_client.client import Unbroken
from unbroken_client.errors import ApiError, Forbidden, NotFound
from unbroken_client.transport import Call

from api.cli.importing.errors import BadRow
from api.cli.importing.job import Job
from api.cli.importing.kinds import Item, RowKind
from api.cli.progress import FileProgress

ITEMS_SHOWN = 3
PAGE_SIZE = 100
LOOKUPS_MAX = 1_000  # participants whose zone is looked up; the days of others are unknown
OWN_ZONE = "by the participant's own zone"


@dataclass
class KnownDefinitions:
    """Definitions and participants of the service. Empty without a key."""

    api: Unbroken | None
    kind: RowKind
    definitions: Mapping[str, Mapping[str, Any]] | None = None  # by code; None: not looked up
    zones: dict[str, str | None] = field(default_factory=dict)

    def read(self) -> None:
        """Read the definitions of the kind, if it has any and the key may."""
        if self.api is None or not self.kind.definitions:
            return
        found: dict[str, Mapping[str, Any]] = {}
        try:
            for page in range(1, 1_000_000):
                answer = self.api.transport.call(
                    Call("GET", self.kind.definitions, None,
                         {"page": str(page), "page_size": str(PAGE_SIZE)})
                )  # fmt: skip
                found |= {definition["code"]: definition for definition in answer["items"]}
                if page * PAGE_SIZE >= answer["total"]:
                    break
        except Forbidden:
            return  # a participant's key: codes stay unchecked, and the summary says so
        self.definitions = found

    def check(self, item: Item) -> None:
        """Raise BadRow if the item names a definition that accepts no writes."""
        if self.definitions is None or self.kind.code_field is None:
            return
        code = item[self.kind.code_field]
        found = self.definitions.get(code)
        is_open = found is not None and (
            found.get("is_active", True) or self.kind.is_repair or not self.kind.is_queued
        )
        if not is_open:  # a repeated write may name an inactive definition
            raise BadRow(f"{self.kind.noun} '{code}' not found")

    def zone(self, item: Item) -> str | None:
        """The zone of an item that names none; raises LookupError if unknown."""
        is_named = item.get("timezone") or item.get("counted_timezone")
        if is_named or self.definitions is None or self.kind.code_field is None:
            return None
        found = self.definitions[item[self.kind.code_field]]
        is_local = found.get("boundary") == "participant"
        return self._zone_of(item["participant_id"]) if is_local else None

    def _zone_of(self, participant_id: str) -> str | None:
        if participant_id not in self.zones:
            if self.api is None or len(self.zones) >= LOOKUPS_MAX:
                raise LookupError(participant_id)
            self.zones[participant_id] = self._asked(self.api, participant_id)
        return self.zones[participant_id]

    def _asked(self, api: Unbroken, participant_id: str) -> str | None:
        path = f"/participants/{quote(participant_id, safe='')}"
        try:
            zone: str | None = api.transport.call(Call("GET", path)).get("timezone")
        except NotFound:
            return None
        except ApiError:
            raise LookupError(participant_id) from None
        return zone


@dataclass
class DayCounts:
    """The days for which the rows of one code would count."""

    rows: int = 0
    first: str | None = None
    last: str | None = None
    months: Counter[str] = field(default_factory=Counter)
    unknown: int = 0  # rows whose day depends on a zone that was not looked up

    def add(self, day: str | None) -> None:
        """Count one row."""
        self.rows += 1
        if day is None:
            self.unknown += 1
            return
        self.first = min(self.first or day, day)
        self.last = max(self.last or day, day)
        self.months[day[:7]] += 1

    def answer(self) -> dict[str, Any]:
        """The JSON of the counts."""
        return {
            "rows": self.rows, "first": self.first, "last": self.last,
            "months": dict(sorted(self.months.items())), "day_unknown": self.unknown,
        }  # fmt: skip


def run(api: Unbroken | None, job: Job) -> dict[str, Any]:
    """Read and check every row; return how many would count for which day."""
    known = KnownDefinitions(api, job.mapper.naming.kind)
    days: dict[str, DayCounts] = {}
    known.read()
    summary: dict[str, Any] = {"rows": 0, "refused": 0, "first": []}
    with FileProgress.of(job.source, 0) as progress, job.table(progress) as found:
        for window in job.windows(found):
            for row in window:
                summary["rows"] += 1
                why = row.why if row.item is None else _refusal(known, row.item)
                if why or row.item is None:
                    summary["refused"] += 1
                    job.report_row(row.raw.line, why)
                    continue
                _count(known, row.item, days)
                if len(summary["first"]) < ITEMS_SHOWN:
                    summary["first"].append(row.item)
            progress.rows(summary["rows"])
    return summary | {
        "codes_checked": known.definitions is not None or not known.kind.definitions,
        "codes": {code: totals.answer() for code, totals in sorted(days.items())},
    }


def _refusal(known: KnownDefinitions, item: Item) -> str:
    try:
        known.check(item)
    except BadRow as error:
        return str(error)
    return ""


def _count(known: KnownDefinitions, item: Item, days: dict[str, DayCounts]) -> None:
    kind = known.kind
    if kind.code_field is None:
        return
    day: str | None = None
    if kind.day is not None:
        try:
            day = kind.day(item, known.zone(item))
        except LookupError:
            day = None
    days.setdefault(item[kind.code_field], DayCounts()).add(day)


def summary_text(summary: Mapping[str, Any], kind: RowKind) -> str:
    """The summary of a dry run as text."""
    lines = [f"{summary['rows']} rows, {summary['refused']} of them unusable; nothing was sent."]
    if not summary["codes_checked"]:
        lines.append(
            f"{kind.noun} codes were not checked, and days are those of UTC where a row names no"
            " zone: for both give an admin key with --key."
        )
    for code, totals in summary["codes"].items():
        lines += _days_in_words(code, totals, has_days=kind.day is not None)
    return "\n".join(
        lines + [f"  {json.dumps(item, ensure_ascii=False)}" for item in summary["first"]]
    )


def _days_in_words(code: str, one: Mapping[str, Any], *, has_days: bool) -> list[str]:
    if not has_days:
        return [f"{code}: {one['rows']} rows"]
    dated = f", {one['first']} to {one['last']}" if one["first"] else ""
    unknown = f", {one['day_unknown']} {OWN_ZONE}" if one["day_unknown"] else ""
    months = [f"  {month}: {count}" for month, count in one["months"].items()]
    return [f"{code}: {one['rows']} rows{dated}{unknown}", *months]
