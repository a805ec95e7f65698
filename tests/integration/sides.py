"""Two tenants, live and test each: the same ids on all four sides, and all that can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models import clock, ids
from models.db import Engine, reading, transaction
from models.identity import participants
from models.identity.tenants import Tenant
from models.leaderboards import entries
from models.ledgers import dead_letters
from models.ledgers.dead_letters import DeadLetter
from tests.calls import client_of, make_streak, noon, post_tick
from tests.conftest import BASE, Account
from tests.integration.documented import make_world
from tests.pipeline import Pipeline
from workers.intake.messages import TickV1, encode
from workers.maintenance.leaderboards import LeaderboardUpdater

SCRIP = "/v1"
NOBODY = "01920000-0000-7000-8000-000000000000"
PERSON = "user_42"
IDS = {
    "badge_id",
    "program_id",
    "webhook_id",
    "tick_id",
    "award_id",
    "fact_id",
    "replay_id",
    "restore_id",
    "dead_letter_id",
    "tier_id",
    "reward_id",
    "challenge_id",
    "leaderboard_id",
    "transaction_id",
    "assignment_id",
    "claim_id",
    "streak_change_id",
    "pause_id",
    "outage_id",
}
QUERIES = (
    f"{BASE}/participants?participant_id={PERSON}",
    f"{BASE}/participants/{PERSON}/badges?earned_only=true",
    f"{BASE}/admin/participants?search=user",
)
PROFILE = "/participants/<participant:participant_id>"
PAUSES = "/participants/<participant:participant_id>/pauses"
# What a side's own writes must show on: otherwise the others' silence would prove nothing.
SHOWN = {
    PROFILE,
    "/participants/<participant:participant_id>/state",
    "/participants/<participant:participant_id>/badges",
    "/participants/<participant:participant_id>/streaks",
    "/participants/<participant:participant_id>/streaks/<code>/history",
    "/streaks/<code>/at-risk",
    "/ticks/<tick_id>",
    "/awards/<award_id>",
    "/participants/<participant:participant_id>/points",
    "/participants/<participant:participant_id>/points/transactions",
    "/participants/<participant:participant_id>/tier",
    "/participants/<participant:participant_id>/rewards",
    "/participants/<participant:participant_id>/challenges",
    "/points/transactions/<transaction_id>",
    "/tiers/assignments/<assignment_id>",
    "/claims/<claim_id>",
    "/streak-changes/<streak_change_id>",
    PAUSES,
    "/rewards",
    "/admin/rewards",
    "/admin/rewards/<reward_id>",
    "/admin/participants",
    "/facts",
    "/admin/webhooks/<webhook_id>/deliveries",
    "/admin/webhooks/<webhook_id>/deliveries/<fact_id>",
    "/admin/webhooks/<webhook_id>/attempts",
    "/admin/webhooks/<webhook_id>/replays",
    "/admin/webhooks/<webhook_id>/replays/<replay_id>",
    "/admin/dead-letters",
    "/admin/dead-letters/<dead_letter_id>",
    "/admin/audit-log",
}

Seen = dict[str, Any]


@dataclass
class Side:
    """One side of a tenant: its key, and the ids that it was given."""

    name: str
    tenant: Tenant
    client: FlaskClient
    ids: dict[str, str] = field(default_factory=lambda: dict.fromkeys(IDS, NOBODY))


def make_sides(app: Flask, make_account: Callable[..., Account], url: str) -> list[Side]:
    """Four sides that define the same codes and send their facts to one receiver."""
    made = [
        Side(f"{slug} {mode}", account.sides[mode], client_of(app, account.keys[mode]))
        for slug, account in (("first", make_account()), ("second", make_account()))
        for mode in ("live", "test")
    ]
    for side in made:
        define(side, url)
    return made


def define(side: Side, url: str) -> None:
    make_streak(side.client, name=side.name)
    make_streak(side.client, code="often", name=side.name, target={"kind": "ticks", "amount": 9})
    calendar = {"code": "holidays", "name": side.name, "dates": ["2026-12-25"]}
    assert side.client.post(f"{BASE}/admin/calendars", json=calendar).status_code == 201
    for noun, path, body in (
        ("badge", "badges", {"code": "power_user", "name": side.name}),
        ("program", "programs", {"name": side.name}),
        ("tier", "tiers", {"code": "gold", "name": side.name, "level": 1, **_BY_HAND}),
        ("reward", "rewards", {"code": "coupon", "name": side.name, "points_cost": 10, "stock": 5}),
        ("challenge", "challenges", {"code": "goal", "name": side.name, **_HUNDRED}),
        ("leaderboard", "leaderboards", {"code": "best", "name": side.name, **_POINTS}),
        ("outage", "outages", {**_HOUR, "reason": side.name}),
        ("webhook", "webhooks", {"url": f"{url}/{side.tenant.id}", "event_types": ["*"]}),
    ):
        made = side.client.post(f"{BASE}/admin/{path}", json=body)
        assert made.status_code == 201, made.text
        side.ids[f"{noun}_id"] = made.get_json()["id"]


_PERSON = {"participant:participant_id": PERSON}
_HOUR = {"starts_at": "2026-05-23T08:00:00Z", "ends_at": "2026-05-23T09:00:00Z"}
_POINTS = {"metric": "points"}
_BY_HAND = {"award_type": "manual"}
_HUNDRED = {"objective": {"type": "points"}, "target": 100}


def act(side: Side, pipeline: Pipeline) -> None:
    """Every write there is, about the same person under the same codes and keys."""
    tick = record(side)
    assert tick.status_code == 202, tick.text
    side.ids["tick_id"] = tick.get_json()["tick_id"]
    progressed = post_tick(side.client, PERSON, streak_code="often")
    assert progressed.status_code == 202, progressed.text
    award = side.client.post(
        f"{BASE}/badges/award", json={"participant_id": PERSON, "badge_code": "power_user"}
    )
    assert award.status_code == 202, award.text
    side.ids["award_id"] = award.get_json()["award_id"]
    earn(side)
    repair(side)
    pipeline.drain()
    side.ids["fact_id"] = side.client.get(f"{BASE}/facts").get_json()["items"][0]["id"]
    replay = side.client.post(
        f"{BASE}/admin/webhooks/{side.ids['webhook_id']}/replays",
        json={"since": "2020-01-01T00:00:00Z"},
    )
    assert replay.status_code == 202, replay.text
    side.ids["replay_id"] = replay.get_json()["id"]
    side.ids["dead_letter_id"] = bury(pipeline.engine, side.tenant.id)
    profile = {"participant_id": PERSON, "display_name": side.name, "attributes": {"a": side.name}}
    assert side.client.post(f"{BASE}/participants", json=profile).status_code == 201
    assert enrol(side, side.ids["program_id"]).status_code == 200


def earn(side: Side) -> None:
    """Points, a tier and a reward for the person."""
    reward = f"rewards/{side.ids['reward_id']}/claim"
    for noun, path, body in (
        ("transaction", "points/award", {"amount": 50}),
        ("assignment", "tiers/assign", {"tier_code": "gold"}),
        ("claim", reward, {}),
    ):
        made = side.client.post(f"{BASE}/{path}", json={"participant_id": PERSON} | body)
        assert made.status_code == 202, made.text
        side.ids[f"{noun}_id"] = made.get_json()[f"{noun}_id"]


def repair(side: Side) -> None:
    """A pause for the person."""
    days = {"from": "2026-06-01", "to": "2026-06-02", "reason": side.name}
    paused = side.client.post(f"{BASE}/participants/{PERSON}/pauses", json=days)
    assert paused.status_code == 202, paused.text
    side.ids["pause_id"] = side.ids["streak_change_id"] = paused.get_json()["streak_change_id"]
    counted = {"participant_ids": [PERSON], "is_preview": True}
    code = side.client.get(f"{BASE}/streaks").get_json()["items"][0]["code"]
    restore = side.client.post(f"{BASE}/streaks/{code}/restore", json=counted)
    assert restore.status_code == 202, restore.text
    side.ids["restore_id"] = restore.get_json()["id"]


def record(side: Side) -> TestResponse:
    return post_tick(side.client, PERSON, {"Idempotency-Key": "same"}, timestamp=noon(1))


def enrol(side: Side, program_id: str) -> TestResponse:
    body = {"external_id": PERSON, "tags": [side.name], "program_id": program_id}
    return side.client.post(f"{SCRIP}/participants", json=body)


def look(side: Side, engine: Engine) -> Seen:
    """Whatever the side's key can read of itself, by route, and how many rows it has.

    An export is left out: it leaves a line in the audit log, so looking would change something.
    """
    found = routes(side.client.application)
    rules = [rule for method, rule in found if method == "GET" and not rule.endswith("/export")]
    seen: Seen = {rule.removeprefix(BASE): read(side, path_of(rule, side.ids)) for rule in rules}
    return seen | {path: read(side, path) for path in QUERIES} | {"rows": rows(engine, side)}


def read(side: Side, path: str) -> Any:
    response = side.client.get(path)
    assert response.status_code in (200, 404), (path, response.text)
    body = response.get_json()
    return {name: value for name, value in body.items() if name != "request_id"}


def routes(app: Flask) -> Iterator[tuple[str, str]]:
    """Every route behind a key, as the application itself lists them."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith((BASE, SCRIP)) and rule.rule != f"{BASE}/participants":
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule.rule


def path_of(rule: str, known: dict[str, str]) -> str:
    names = {"code": "daily_login", "leaderboard_code": "best", "calendar_code": "holidays"}
    names |= {"period_key": "2026-05-23"} | _PERSON | known
    return re.sub(r"<([^>]+)>", lambda found: names[found[1]], rule)


def rows(engine: Engine, side: Side) -> dict[str, int]:
    """How many rows of each table are a side's."""
    return {table: number for (table, _), number in rows_of(engine, [side.tenant.id]).items()}


def rows_of(engine: Engine, tenant_ids: Sequence[int]) -> dict[tuple[str, int], int]:
    """How many rows each table has of each of these tenants, where it has any."""
    counts = " UNION ALL ".join(
        f"SELECT CAST('{name}' AS text), tenant_id, count(*) FROM {name}"
        " WHERE tenant_id = ANY(:ids) GROUP BY tenant_id"
        for name, column in tables(engine).items()
        if column == "tenant_id"
    )
    with reading(engine) as session:
        found = session.execute(sa.text(counts), {"ids": list(tenant_ids)})
        return {(name, tenant_id): int(number) for name, tenant_id, number in found}


def whole_world(client: FlaskClient, pipeline: Pipeline, tenant_id: int) -> dict[str, str]:
    """One of everything that a path or an example names, in a tenant that had nothing."""
    values = make_world(client, pipeline)
    with transaction(pipeline.engine) as session:  # those of other tests would be updated as well
        others = sa.text("UPDATE leaderboards SET is_active = false WHERE tenant_id <> :id")
        session.execute(others, {"id": tenant_id})
    LeaderboardUpdater(pipeline.engine, facts_days=90).run(10)
    with transaction(pipeline.engine) as session:
        participant = participants.find(session, tenant_id, values["participant_id"])
        assert participant is not None
        entries.mark_changed(session, tenant_id, [participant.id])
    bury(pipeline.engine, tenant_id)  # the kind that the example of replaying many names
    return values


def bury(engine: Engine, tenant_id: int) -> str:
    """Keep a tick of a tenant's first streak as a dead letter; returns its id."""
    with transaction(engine) as session:
        streak_id = session.execute(
            sa.text("SELECT min(id) FROM streaks WHERE tenant_id = :id"), {"id": tenant_id}
        ).scalar_one()
        now_us = clock.now_us()
        tick = TickV1(tenant_id, str(ids.uuid7(now_us)), PERSON, streak_id, now_us)
        text = encode(tick).decode()
        letter = DeadLetter(tenant_id, UUID(tick.id), "tick", PERSON, text, "boom", 5)
        dead_letters.append(session, letter)
    return tick.id


# -- tables ----------------------------------------------------------------------------------


def tables(engine: Engine) -> dict[str, str]:
    """Every table that holds a tenant's rows, as the catalog lists them, and its tenant's column.

    A day's partition is not among them: test_tenant_role.py.
    """
    statement = sa.text("""
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT c.relispartition AND EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
        ORDER BY c.relname
    """)
    with reading(engine) as session:
        names = [row.relname for row in session.execute(statement)]
    assert len(names) >= 20
    return dict.fromkeys(names, "tenant_id") | {"tenants": "id"}


def reachable(engine: Engine) -> dict[str, str]:
    """The tables of tenants that requests may read."""
    return {name: column for name, column in tables(engine).items() if name != "api_keys"}


def row_counts(engine: Engine) -> dict[str, Any]:
    """How many rows every table has."""
    names = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    with reading(engine) as session:
        found = session.execute(
            sa.text(f"{names} AND relkind IN ('r', 'p') AND NOT relispartition")
        ).scalars()
        counts = " UNION ALL ".join(
            f"SELECT CAST('{name}' AS text), count(*) FROM {name}" for name in found.all()
        )
        return {name: int(number) for name, number in session.execute(sa.text(counts))}
