"""Spans in which a streak may have broken: instants, or local days. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from models.rules.deadlines import starts_us
from models.rules.periods import Cadence, first_day

SpanUnit = Literal["instant", "day"]
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to before `end`: instants in microseconds, or local days, since 1970."""

    unit: SpanUnit
    start: int
    end: int

    def holds(self, cadence: Cadence, period: int, zone: str | None) -> bool:
        """Whether a streak that breaks at the start of a period breaks within the span."""
        if self.unit == "day":
            at = (first_day(cadence, period) - _EPOCH).days
        else:
            at = starts_us(cadence, period, zone)
        return self.start <= at < self.end
