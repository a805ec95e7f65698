"""The script of the demo: a few days of ticks and their expected answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

STREAK: dict[str, str | int] = {
    "code": "daily_login",
    "name": "Daily Login",
    "period": "daily",
    "grace_periods": 1,
}
# Not behavior.*: on a slow machine the sweep could break a streak between two scenes.
FACT_TYPE = "behavior.streak_recorded"
CROWD = 20  # participants of the batch


@dataclass(frozen=True, slots=True)
class Scene:
    """One tick and its expected result; `day` counts from today."""

    participant_id: str
    day: int
    clock: str
    outcome: str
    count: int
    note: str
    timezone: str | None = None

    def tick(self, today: datetime) -> dict[str, str]:
        """The request body."""
        at = today + timedelta(days=self.day)
        body = {
            "participant_id": self.participant_id,
            "streak_code": str(STREAK["code"]),
            "timestamp": f"{at:%Y-%m-%d}T{self.clock}Z",
        }
        return body | ({"timezone": self.timezone} if self.timezone else {})


_SYDNEY = "Australia/Sydney"

SCENES = (
    Scene("amira", -3, "08:15:00", "started", 1, "the first day"),
    Scene("amira", -2, "08:02:00", "extended", 2, "on time"),
    Scene("amira", -1, "07:58:00", "extended", 3, "on time"),
    Scene("amira", 0, "08:11:00", "extended", 4, "on time"),
    Scene("ben", -1, "08:15:00", "started", 1, "the first day"),
    Scene("ben", -1, "19:00:00", "repeated", 1, "the same day again: nothing changes"),
    Scene("ben", 0, "09:30:00", "extended", 2, "on time"),
    Scene("chloe", -3, "10:00:00", "started", 1, "the first day"),
    Scene("chloe", -1, "10:00:00", "extended", 2, "missed a day: the grace credit covers it"),
    Scene("chloe", 0, "10:00:00", "extended", 3, "on time"),
    Scene("dev", -4, "11:00:00", "started", 1, "the first day"),
    Scene("dev", -1, "11:00:00", "reset", 1, "missed two days with one credit: starts again"),
    Scene("emil", -3, "12:00:00", "started", 1, "the first day"),
    Scene("emil", 0, "06:00:00", "reset", 1, "missed two days with one credit: starts again"),
    Scene("emil", -2, "12:00:00", "backfilled", 3, "a late tick joins the chains: 1 becomes 3"),
    Scene("fay", -1, "09:00:00", "started", 1, "evening in Sydney", _SYDNEY),
    Scene("fay", -1, "22:00:00", "extended", 2, "next morning there, same day in UTC", _SYDNEY),
)


def crowd(today: datetime) -> list[dict[str, str]]:
    """The ticks of the batch: one each for new participants."""
    return [
        Scene(f"crowd_{number:02d}", 0, "05:00:00", "started", 1, "").tick(today)
        for number in range(1, CROWD + 1)
    ]


def facts_expected() -> set[tuple[str, str, int]]:
    """Participant, outcome and count of every expected fact; repeated ticks cause none."""
    expected = {
        (scene.participant_id, scene.outcome, scene.count)
        for scene in SCENES
        if scene.outcome != "repeated"
    }
    return expected | {(f"crowd_{number:02d}", "started", 1) for number in range(1, CROWD + 1)}
