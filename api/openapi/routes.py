"""An application's routes in the order of its documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from api.http.auth import require_admin
from api.http.describe import Operation
from api.http.request_context import BASE_PATH, DASHBOARD_PATH, SCRIP_PATH

# Blueprint → its chapter, in the order of the reference.
CHAPTERS = {
    "ticks": "Ticks",
    "streaks": "Streaks",
    "calendars": "Streaks",
    "participant_streaks": "Streaks",
    "at_risk": "Streaks",
    "outages": "Streaks",
    "streak_changes": "Repair",
    "pauses": "Repair",
    "freezes": "Repair",
    "repairs": "Repair",
    "restores": "Repair",
    "retractions": "Repair",
    "merges": "Repair",
    "awards": "Badges",
    "badges": "Badges",
    "points": "Points",
    "tiers": "Tiers",
    "tier_assignments": "Tiers",
    "rewards": "Rewards",
    "claims": "Rewards",
    "challenges": "Challenges",
    "participant_challenges": "Challenges",
    "leaderboards": "Leaderboards",
    "participants": "Participants",
    "personal_data": "Participants",
    "erasures": "Participants",
    "people": "Participants",
    "scrip": "Scrip",
    "programs": "Programs",
    "webhooks": "Webhooks",
    "webhook_secrets": "Webhooks",
    "webhook_trials": "Webhooks",
    "deliveries": "Webhooks",
    "replays": "Webhooks",
    "facts": "Facts",
    "dead_letters": "Dead letters",
    "imports": "Import",
    "audit": "Audit",
    "health": "Service",
    "reference": "Service",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHAPTER_TEXTS = {
    "Ticks": "Record that a participant did something, and read the result.",
    "Streaks": "Define streaks; read counts, their history and participants at risk.",
    "Repair": "Pause, protect, repair, retract and merge; grant and sell freezes.",
    "Badges": "Define and award badges, and list earned badges.",
    "Points": "Award and deduct points, and read the ledger of all movements.",
    "Tiers": "Define and assign tiers, and read a participant's tier.",
    "Rewards": "Define rewards, redeem them, and list redemptions.",
    "Challenges": "Define challenges, and read the progress of participants.",
    "Leaderboards": "Rank by longest streak or points in a rolling window, at any size.",
    "Participants": "The users of your application.",
    "Scrip": "The same participants, as Scrip's API names them.",
    "Programs": "Programs in which Scrip's API enrols participants.",
    "Webhooks": "Destinations that receive facts.",
    "Facts": "The feed of facts, to read at your own pace.",
    "Dead letters": "Accepted writes that could not be applied; replay or discard them.",
    "Import": "Import data from another service, without facts; idempotent per row.",
    "Audit": "The audit log of changes by admins and the operator.",
    "Service": "Health, and this documentation. No key is needed.",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    rule: Rule
    view: Callable[..., Any]
    operation: Operation | None

    @property
    def path(self) -> str:
        """The path as a template of the document."""
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(self.rule.rule))

    @property
    def name(self) -> str:
        """A unique name for programs."""
        name = str(self.view.__name__)
        if self.is_second_spelling:
            return f"admin_{name}"
        return f"scrip_{name}" if self.path.startswith(SCRIP_PATH) else name

    @property
    def is_second_spelling(self) -> bool:
        """Whether the same view also has a shorter path."""
        return self.path.startswith(f"{BASE_PATH}/admin/streaks")

    @property
    def chapter(self) -> str:
        """The chapter of the reference."""
        blueprint = str(self.rule.endpoint).rpartition(".")[0].rpartition(".")[2]
        return CHAPTERS.get(blueprint, blueprint.capitalize())

    @property
    def is_public(self) -> bool:
        """Whether it needs no key."""
        return not self.path.startswith((BASE_PATH, SCRIP_PATH))

    @property
    def is_for_admins(self) -> bool:
        """Whether `require_admin` guards it."""
        return any(layer.__code__ is _GUARD for layer in _layers(self.view))


def _layers(view: Any) -> Iterator[Any]:
    while view is not None:
        yield view
        view = getattr(view, "__wrapped__", None)


_GUARD = require_admin(lambda: None).__code__


def routes(app: Flask) -> list[Route]:
    """Every method of every path, in the order of the reference."""
    found = [
        Route(method, rule, view, getattr(view, "operation", None))
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith(DASHBOARD_PATH)
        for view in [app.view_functions[rule.endpoint]]
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
    order = list(dict.fromkeys(CHAPTERS.values()))
    order += sorted({route.chapter for route in found} - set(order))

    def sort_key(route: Route) -> tuple[Any, ...]:
        here = (route.is_second_spelling, route.path, METHODS.index(route.method))
        return order.index(route.chapter), *here

    return sorted(found, key=sort_key)
