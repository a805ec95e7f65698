"""The scene: tenants with both their sides, definitions, people, and who is told of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import requests

from models.db import Connection, transaction
from models.identity import tenants
from models.identity.tenants import Tenant
from tests.chaos.stack import Stack
from tests.receiver import Receiver
from webhooks import facts

BASE = "/api/v1/gamify"
SETUP_SECONDS = 120.0  # on a machine that is busy with other things
SLUGS = ("acme", "bolt", "cord")
PEOPLE = 16  # of each side
CAPS_PER_MINUTE = {"cord": 120}  # how often each of a tenant's people may be written for

# Ids that must not become one another, whatever they pass through.
_NASTY = (
    "user/1", "user%2F1", "..", "a;b", "a?b#c", "\u00e9", "e\u0301", "\U0001f600", "a b", "a  b",
    'a{},\\"', "'--",
)  # fmt: skip

DEFINITIONS: dict[str, dict[str, Any]] = {
    "daily": {"period": "daily", "grace_periods": 1,
              "milestones": [
                  {"count": 3, "badge_code": "three"}, {"count": 7, "badge_code": "week"}]},
    "weekly": {"period": "weekly", "grace_periods": 0, "milestones": [{"count": 2, "points": 7}]},
    "monthly": {"period": "monthly", "grace_periods": 2},
    "held": {"period": "daily", "grace_periods": 0, "reset_on_miss": False,
             "milestones": [{"count": 5, "badge_code": "steady"}]},
    "zoned": {"period": "daily", "grace_periods": 2, "boundary": "participant"},
}  # fmt: skip
SWITCHED = "switched"  # paused and resumed while it is written to
# Written to, and repaired, by the menders alone.
MENDED = "mended"
FORGIVENESS = {
    "grace_periods": 1, "grace_refill": "weekly", "rest_days": ["sunday"],
    "freezes": {"initial": 1, "earn_every": 5, "max": 3, "price_points": 2},
}  # fmt: skip
HURT = tuple(f"hurt_{nth}" for nth in range(4))
MILESTONE_BADGES = ("three", "week", "steady")
PRIZES = (*MILESTONE_BADGES, "champion")  # badges that come without an award
TIERS: dict[str, dict[str, Any]] = {
    "bronze": {"level": 1, "criteria_config": {"min_points": 60}},
    "silver": {"level": 2, "criteria_config": {"min_points": 200}},
    "gold": {"level": 3, "criteria_config": {"min_points": 500}},
    "guest": {"level": 4, "award_type": "manual"},
}
REWARDS: dict[str, dict[str, Any]] = {
    "mug": {"points_cost": 25, "stock": 20, "max_claims_per_user": None},
    "pin": {"points_cost": 0, "stock": 30, "max_claims_per_user": 3},
    "song": {"points_cost": 40, "stock": None, "max_claims_per_user": 4},
}
CHALLENGES: dict[str, dict[str, Any]] = {
    "collector": {"objective": {"type": "points"}, "target": 150, "points": 45},
    "runner": {"objective": {"type": "ticks", "streak_code": "daily"}, "target": 8,
               "points": 30, "badge_code": "champion"},
}  # fmt: skip
BADGES = ("brave", "kind", "quick", "wise")
ZONES = (None, "UTC", "Pacific/Auckland", "America/Los_Angeles", "Asia/Kathmandu")


@dataclass
class Destination:
    """Who is told, of what, and what arrived."""

    id: str
    event_types: list[str]
    is_ordered: bool
    receiver: Receiver


@dataclass
class Side:
    """One mode of a tenant."""

    tenant: Tenant
    admin: str
    writer: str  # a key without scopes
    retired: str  # one that was revoked before anything began
    zones: dict[str, str | None]  # each participant's own
    suspended: str  # somebody whose writes are refused
    destinations: list[Destination] = field(default_factory=list)
    rewards: dict[str, str] = field(default_factory=dict)  # code → id

    @property
    def id(self) -> int:
        """The tenant's id."""
        return self.tenant.id

    @property
    def people(self) -> list[str]:
        """Those who may be written for."""
        return list(self.zones)


@contextmanager
def set_up(stack: Stack, random: Random) -> Iterator[list[Side]]:
    """Make everything that the load writes to; the receivers listen while the block runs."""
    with ExitStack() as ending:
        sides = [side for slug in SLUGS for side in _tenant(stack, slug, random)]
        for side in sides:
            _define(stack, side)
            for one in _destinations(side):
                ending.enter_context(one.receiver)
                _subscribe(stack, side, one)
                side.destinations.append(one)
        yield sides


def _tenant(stack: Stack, slug: str, random: Random) -> list[Side]:
    with transaction(stack.engine) as session:
        sides = tenants.create(session, slug, CAPS_PER_MINUTE.get(slug, 0))
        return [_side(session, tenant, random) for tenant in sides.values()]


def _side(session: Connection, tenant: Tenant, random: Random) -> Side:
    made = [tenants.create_key(session, tenant, scopes) for scopes in (["admin"], [], [])]
    tenants.revoke_key(session, tenant.id, made[2][0])
    names = [*_NASTY, *(f"user_{nth}" for nth in range(PEOPLE - len(_NASTY)))]
    zones = {name: random.choice(ZONES) for name in names}
    admin, writer, retired = (key for _, key in made)
    return Side(tenant, admin, writer, retired, zones, suspended=f"gone from {tenant.mode}")


def _define(stack: Stack, side: Side) -> None:
    for code in (*PRIZES, *BADGES):
        _post(stack, side, f"{BASE}/admin/badges", {"code": code, "name": code.title()})
    for code, values in DEFINITIONS.items():
        _post(stack, side, f"{BASE}/streaks", {"code": code, "name": code.title(), **values})
    _post(stack, side, f"{BASE}/streaks", {"code": SWITCHED, "name": "Switched"})
    _post(stack, side, f"{BASE}/streaks", {"code": MENDED, "name": "Mended", **FORGIVENESS})
    for name, zone in side.zones.items():
        if zone:
            _post(stack, side, f"{BASE}/participants", {"participant_id": name, "timezone": zone})
    _define_economy(stack, side)
    gone = {"external_id": side.suspended, "status": "SUSPENDED"}
    _post(stack, side, "/v1/participants", gone)


def _define_economy(stack: Stack, side: Side) -> None:
    """After the streaks and badges, which challenges refer to."""
    kinds = (("tiers", TIERS), ("rewards", REWARDS), ("challenges", CHALLENGES))
    for kind, definitions in kinds:
        for code, values in definitions.items():
            named = {"code": code, "name": code.title(), **values}
            made = _post(stack, side, f"{BASE}/admin/{kind}", named)
            if kind == "rewards":
                side.rewards[code] = made["id"]


def _destinations(side: Side) -> Iterator[Destination]:
    """A plain one for all facts; beside it on the live side one in order for some of them."""
    yield Destination("", ["*"], is_ordered=False, receiver=Receiver())
    if side.tenant.mode == "live":
        yield Destination("", ["behavior.*"], is_ordered=True, receiver=Receiver())


def _subscribe(stack: Stack, side: Side, one: Destination) -> None:
    wish = {
        "url": one.receiver.url,
        "event_types": one.event_types,
        "is_ordered": one.is_ordered,
        "retry_seconds": [1] * 20,
    }
    made = _post(stack, side, f"{BASE}/admin/webhooks", wish)
    one.id = made["id"]
    one.receiver.trust(made["secret"])


def wants(one: Destination, kind: str) -> bool:
    """Whether a destination is told of facts of a type."""
    return facts.matches(one.event_types, kind)


def _post(stack: Stack, side: Side, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create something; again while the service cannot, as at its start."""
    ends = time.monotonic() + SETUP_SECONDS
    while True:
        answer = requests.post(
            stack.url + path, json=body, headers={"X-API-Key": side.admin}, timeout=15
        )
        if answer.status_code in (200, 201):
            return dict(answer.json())
        if answer.status_code != 503 or time.monotonic() > ends:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
        time.sleep(0.5)
