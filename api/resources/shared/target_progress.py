"""Progress of a period towards the target of its streak, as answers have it."""

from __future__ import annotations

from typing_extensions import TypedDict

from models.rules.targets import UNIT, PeriodTarget, shown


class TargetProgress(TypedDict):
    """What the ticks of a period add up to, and what it needs to count."""

    value: int | float
    target: int


def target_progress(progress: int, target: PeriodTarget) -> TargetProgress:
    """The progress in thousandths towards a target."""
    return {"value": shown(progress), "target": target.amount // UNIT}
