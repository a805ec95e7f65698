"""Targets: a period is recorded once its progress reaches an amount (contract §7.2). Pure.

Progress is a sum, or a set of days, over the ticks of a period, so their order changes nothing. It
is kept in whole thousandths: a sum of fractions would depend on the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

TargetKind = Literal["ticks", "days", "value"]
UNIT = 1_000
PROGRESS_MAX = 10**15  # a sum stops there; every target is below


@dataclass(frozen=True, slots=True)
class PeriodTarget:
    """What a period needs."""

    kind: TargetKind
    amount: int  # in thousandths


def target_of(fields: Mapping[str, Any]) -> PeriodTarget | None:
    """The target in a definition's optional fields."""
    given = fields.get("target")
    return None if given is None else PeriodTarget(given["kind"], given["amount"] * UNIT)


def shown(thousandths: int) -> int | float:
    """A number as it was sent: whole where it is."""
    whole, rest = divmod(thousandths, UNIT)
    return thousandths / UNIT if rest else whole


@dataclass(frozen=True, slots=True)
class TargetTick:
    """What one tick adds to its period."""

    instant_us: int
    zone: str | None  # the tick's own
    day: int  # of the period, from 0
    value: int  # in thousandths


@dataclass(frozen=True, slots=True)
class Progress:
    """What the ticks of a period add up to, and the latest of them."""

    value: int
    days: int  # bit n: the period's day n has a tick
    last_us: int
    last_zone: str | None


def both(first: Progress, second: Progress, target: PeriodTarget) -> Progress:
    """The progress of a period by the ticks of two participants."""
    days = first.days | second.days
    is_days = target.kind == "days"
    value = days.bit_count() * UNIT if is_days else first.value + second.value
    last_us, zone = max(
        (made.last_us, made.last_zone or "") for made in (first, second)
    )  # fmt: skip
    return Progress(min(value, PROGRESS_MAX), days, last_us, zone or None)


def advanced(before: Progress | None, target: PeriodTarget, tick: TargetTick) -> Progress:
    """The progress of a period with one more tick."""
    value, days = (0, 0) if before is None else (before.value, before.days)
    days |= 1 << tick.day
    last_us, zone = tick.instant_us, tick.zone
    if before is not None:  # the greatest of all ticks, whatever their order
        last_us, zone = max((last_us, zone or ""), (before.last_us, before.last_zone or ""))
    match target.kind:
        case "ticks":
            value += UNIT
        case "days":
            value = days.bit_count() * UNIT
        case "value":
            value += tick.value
    return Progress(min(value, PROGRESS_MAX), days, last_us, zone or None)
