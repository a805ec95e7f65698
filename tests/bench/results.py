"""What was measured: samples, medians, the required minimum, a table and a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = (
    "aiohttp", "celery", "flask", "granian", "psycopg2-binary", "redis", "requests", "sqlalchemy",
)  # fmt: skip

NUMBERS = ("ours", "theirs", "ratio")


@dataclass(frozen=True)
class Row:
    """One figure and what it is compared with, sampled in turns."""

    figure: str
    peer: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    at_least: float | None = None  # ours / theirs
    at_most: float | None = None  # likewise, where less is better
    note: str = ""

    @property
    def ratio(self) -> float:
        """The median over the turns: the two of a turn saw the same machine."""
        return median(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))

    @property
    def is_met(self) -> bool:
        """Whether the ratio is what it must be."""
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )

    @property
    def bound(self) -> str:
        """The requirement in words."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}×"
        return "—" if self.at_most is None else f"≤ {self.at_most:g}×"

    @property
    def verdict(self) -> str:
        """Met, or by how much it falls short."""
        if self.at_least is None and self.at_most is None:
            return "for information"
        bound = self.at_least if self.at_least is not None else self.at_most or 1.0
        return "met" if self.is_met else f"falls short by {abs(1 - self.ratio / bound):.0%}"


def machine(servers: dict[str, str]) -> dict[str, Any]:
    """The machine and the versions that the figures belong to."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "system": platform.platform(),
        "python": platform.python_version(),
        **servers,
        "packages": {name: version(name) for name in PACKAGES},
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def show(rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title="Unbroken, measured", title_justify="left")
    for column in ("figure", "ours", "compared with", "theirs", "ratio", "required", ""):
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    for row in rows:
        ours, theirs = (_number(median(each), row.unit) for each in (row.ours, row.theirs))
        verdict = f"[{'green' if row.is_met else 'red'}]{row.verdict}[/]"
        table.add_row(row.figure, ours, row.peer, theirs, f"{row.ratio:.2f}×", row.bound, verdict)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"[dim]{row.figure}: {row.note}[/]")
    console.print(
        f"[dim]{facts['cpu']}, {facts['cores']} cores, {facts['memory']}; Python"
        f" {facts['python']}, PostgreSQL {facts['postgres']}, Redis {facts['redis']}; fsync on,"
        " appendfsync always; everything, load generators included, on this one machine[/]"
    )


def _number(value: float, unit: str) -> str:
    return f"{value:,.2f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def write(rows: Sequence[Row], facts: dict[str, Any], path: Path) -> None:
    """Write everything, each sample included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    described = [
        {
            "figure": row.figure,
            "compared_with": row.peer,
            "unit": row.unit,
            "ours": median(row.ours),
            "theirs": median(row.theirs),
            "ratio": row.ratio,
            "required": row.bound,
            "is_met": row.is_met,
            "note": row.note,
            "samples": {"ours": list(row.ours), "theirs": list(row.theirs)},
        }
        for row in rows
    ]
    path.write_text(json.dumps({"machine": facts, "rows": described}, indent=1) + "\n")
