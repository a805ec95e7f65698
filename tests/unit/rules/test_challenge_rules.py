"""What brings a participant nearer to a target."""

from __future__ import annotations

import pytest

from models.rules.challenges import Happened, Objective, advance

TICK = Happened("tick", "daily_login", 4)
BADGE = Happened("badge", "warrior", 1)
POINTS = Happened("points", None, 250)


@pytest.mark.parametrize(
    ("objective", "happened", "after"),
    [
        (Objective("ticks", "daily_login"), TICK, 3),
        (Objective("ticks", "weekly_workout"), TICK, 2),
        (Objective("ticks", "daily_login"), BADGE, 2),
        (Objective("count", "daily_login"), TICK, 4),
        (Objective("count", "daily_login"), Happened("tick", "daily_login", 1), 2),
        (Objective("count", "weekly_workout"), TICK, 2),
        (Objective("badges"), BADGE, 3),
        (Objective("badges", badge_codes=("warrior", "other")), BADGE, 3),
        (Objective("badges", badge_codes=("other",)), BADGE, 2),
        (Objective("badges"), POINTS, 2),
        (Objective("points"), POINTS, 252),
        (Objective("points"), TICK, 2),
    ],
)
def test_it_counts_what_the_objective_names(
    objective: Objective, happened: Happened, after: int
) -> None:
    assert advance(objective, 2, happened) == after


@pytest.mark.parametrize(
    "stored",
    [
        {"type": "ticks", "streak_code": "daily_login"},
        {"type": "count", "streak_code": "daily_login"},
        {"type": "badges"},
        {"type": "badges", "badge_codes": ["a", "b"]},
        {"type": "points"},
    ],
)
def test_it_is_shown_as_it_was_stored(stored: dict[str, object]) -> None:
    assert Objective.of(stored).as_json() == stored
