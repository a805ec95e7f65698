"""Challenges: the events that count for a target, and the progress (contract §6). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ObjectiveType = Literal["ticks", "count", "badges", "points"]


@dataclass(frozen=True, slots=True)
class Objective:
    """The events that count: ticks of a streak, a count reached, badges or points earned."""

    type: ObjectiveType
    streak_code: str | None = None  # of ticks and count
    badge_codes: Sequence[str] | None = None  # of badges; None: any

    @staticmethod
    def of(values: Mapping[str, Any]) -> Objective:
        """From its stored and shown form."""
        codes = values.get("badge_codes")
        return Objective(
            values["type"], values.get("streak_code"), None if codes is None else tuple(codes)
        )

    def as_json(self) -> dict[str, Any]:
        """Its stored and shown form: without inapplicable fields."""
        found = {"type": self.type, "streak_code": self.streak_code}
        if self.badge_codes is not None:
            return {"type": self.type, "badge_codes": list(self.badge_codes)}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Happened:
    """An event that may count: a tick with its count, a badge, some points."""

    type: Literal["tick", "badge", "points"]
    code: str | None  # of the streak or badge
    amount: int  # the best run that a tick belongs to; the points; 1 for a badge


def advance(objective: Objective, progress: int, happened: Happened) -> int:
    """The progress after an event; unchanged when the event does not count."""
    match objective.type, happened.type:
        case "ticks", "tick" if objective.streak_code == happened.code:
            return progress + 1
        case "count", "tick" if objective.streak_code == happened.code:
            return max(progress, happened.amount)
        case "badges", "badge" if _is_among(objective.badge_codes, happened.code):
            return progress + 1
        case "points", "points":
            return progress + happened.amount
    return progress


def _is_among(codes: Sequence[str] | None, code: str | None) -> bool:
    return codes is None or code in codes
