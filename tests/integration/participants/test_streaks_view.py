"""participant_streaks_view: the same numbers as the API's, by the same rules, in SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from models import clock
from models.db import Engine, reading, transaction
from models.rules.periods import (
    KINDS,
    Cadence,
    PeriodKind,
    cadence_of,
    period_at,
    period_of_day,
    starts_at,
    zone_info,
    zone_names,
)
from models.rules.streaks import Ranges, Rules, add, walk
from models.streaks.states import format_ranges
from tests.calls import client_of, make_streak, noon, post_batch, tick
from tests.conftest import BASE, Account
from tests.integration.batches import all_streaks, history, messages_of, post
from tests.integration.documents.test_seed_streaks import CAMPAIGN
from tests.pipeline import Pipeline

RECIPES = Path(__file__).resolve().parents[3] / "docs" / "recipes.md"
SHOWN = (
    "current_count", "longest_count", "last_recorded_at", "is_at_risk", "period", "status",
    "expires_at", "grace_remaining",
)  # fmt: skip


def select(engine: Engine, statement: str, **values: Any) -> list[dict[str, Any]]:
    with reading(engine) as session:
        return [dict(row._mapping) for row in session.execute(sa.text(statement), values)]


def view_of(engine: Engine, account: Account) -> dict[tuple[str, str], dict[str, Any]]:
    """The view's rows of a tenant's live side, spelled as the API spells them."""
    rows = select(
        engine,
        "SELECT * FROM participant_streaks_view WHERE tenant = :tenant AND mode = 'live'",
        tenant=account.slug,
    )
    for row in rows:
        for name in ("last_recorded_at", "expires_at"):
            row[name] = row[name] and clock.isoformat(row[name])
    found = {
        (row["participant_id"], row["streak_code"]): {name: row[name] for name in SHOWN}
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def answers_of(client: FlaskClient, people: set[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """The same from GET /participants/{id}/streaks."""
    found = {}
    for participant in people:
        path = f"{BASE}/participants/{quote(participant, safe='')}/streaks"
        for entry in client.get(path).get_json()["streaks"]:
            found[participant, entry["code"]] = {name: entry[name] for name in SHOWN}
    return found


def assert_same(client: FlaskClient, engine: Engine, account: Account, people: set[str]) -> int:
    """Compare; again when a period ended meanwhile. Returns how many statuses were seen."""
    before, after = None, view_of(engine, account)
    while before != after:
        before, answers = after, answers_of(client, people)
        after = view_of(engine, account)
    assert after == answers
    return len({row["status"] for row in after.values()})


@pytest.mark.parametrize("seed", [1, 2])
def test_it_shows_what_the_api_reads_over_random_histories_zones_and_changed_rules(
    seed: int,
    client: FlaskClient,
    engine: Engine,
    account: Account,
    pipeline: Pipeline,
    redis_client: redis.Redis,
) -> None:
    random, definitions = Random(seed), all_streaks(engine, account.live.id)
    messages = messages_of(history(random, 900, people=150), definitions)
    post(redis_client, messages)
    pipeline.drain()
    people = {message.participant_id for message in messages}
    move(engine, account, random)
    assert assert_same(client, engine, account, people) == 4
    for code in definitions:  # what was walked before is stale now, and then partly renewed
        change = {"grace_periods": random.randrange(4), "reset_on_miss": code == "daily"}
        assert client.patch(f"{BASE}/streaks/{code}", json=change).status_code == 200
    assert_same(client, engine, account, people)
    post(redis_client, messages_of(history(random, 60, people=150), definitions))
    pipeline.drain()
    people |= {row["participant_id"] for row in select(
        engine, "SELECT participant_id FROM participant_streaks_view WHERE tenant = :tenant",
        tenant=account.slug,
    )}  # fmt: skip
    assert_same(client, engine, account, people)


def move(engine: Engine, account: Account, random: Random) -> None:
    """Send the participants to live all over the world; some stay where nobody knows."""
    names = random.choices(sorted(zone_names()), k=100)
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE participants SET timezone = (CAST(:names AS text[]))[id % 150]"
                " WHERE tenant_id = :tenant_id"
            ),
            {"names": names, "tenant_id": account.live.id},
        )


# -- the campaign ----------------------------------------------------------------------------


def test_it_answers_the_campaigns_query_as_the_page_shows_it(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    post_batch(
        client,
        *(tick("at_risk", timestamp=noon(day)) for day in range(1, 24)),
        *(tick("too_short", timestamp=noon(day)) for day in range(1, 7)),
        *(tick("safe", timestamp=noon(day)) for day in range(9)),
        *(tick("lost", timestamp=noon(day)) for day in range(2, 20)),
    )
    pipeline.drain()
    assert campaign(engine, account, "live") == [("at_risk", "daily_login", 23)]
    assert campaign(engine, account, "test") == []
    client.delete(f"{BASE}/streaks/daily_login")
    assert campaign(engine, account, "live") == []


def campaign(engine: Engine, account: Account, mode: str) -> list[tuple[Any, ...]]:
    """The query, verbatim, by somebody whose sessions see one side of one tenant."""
    with transaction(engine) as session:
        for name, value in (("tenant", account.slug), ("mode", mode)):
            session.execute(
                sa.text("SELECT set_config(:name, :value, true)"),
                {"name": f"unbroken.{name}", "value": value},
            )
        return [tuple(row) for row in session.execute(sa.text(CAMPAIGN))]


def test_it_serves_a_role_of_its_own_as_the_recipe_sets_it_up(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    """docs/recipes.md, word for word but for the names."""
    make_streak(client)
    post_batch(client, *(tick(timestamp=noon(day)) for day in range(1, 9)))
    pipeline.drain()
    setup, query = re.findall(r"```sql\n(.*?)```", RECIPES.read_text(), re.DOTALL)
    role = f"campaign_{account.slug.replace('-', '_')}"
    with transaction(engine) as session:
        setup = re.sub(r"\bcampaign\b", role, setup).replace("'acme'", f"'{account.slug}'")
        session.execute(sa.text(setup))
    theirs = sa.create_engine(engine.url.set(username=role))
    with reading(theirs) as session:
        assert [tuple(row) for row in session.execute(sa.text(query))] == [
            ("user_42", "daily_login", 8)
        ]
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            session.execute(sa.text("SELECT * FROM participants"))
    theirs.dispose()


def test_it_tells_tenants_and_modes_apart(
    app: Flask, engine: Engine, pipeline: Pipeline, make_account: Callable[..., Account]
) -> None:
    accounts = [make_account(), make_account()]
    for account in accounts:
        for key in account.keys.values():
            make_streak(client_of(app, key))
            post_batch(client_of(app, key), tick())
    pipeline.drain()
    found = select(
        engine,
        "SELECT tenant, mode FROM participant_streaks_view WHERE tenant = ANY(:tenants)",
        tenants=[account.slug for account in accounts],
    )
    assert sorted((row["tenant"], row["mode"]) for row in found) == sorted(
        (account.slug, mode) for account in accounts for mode in ("live", "test")
    )


# -- the rules -------------------------------------------------------------------------------


@given(
    periods=st.lists(st.integers(19_000, 19_060), min_size=1, max_size=40),
    grace=st.integers(0, 5),
    reset=st.booleans(),
)
@profile(max_examples=300, deadline=None)
def test_it_walks_a_set_as_the_rules_do(
    engine: Engine, periods: list[int], grace: int, reset: bool
) -> None:
    ranges: Ranges = ()
    for period in periods:
        ranges = add(ranges, period)
    (row,) = select(
        engine,
        "SELECT * FROM streak_standing(CAST(:recorded AS int4multirange), :grace, :reset)",
        recorded=format_ranges(ranges), grace=grace, reset=reset,
    )  # fmt: skip
    totals = walk(ranges, Rules(grace, reset))
    assert tuple(row.values()) == (totals.count, totals.longest, totals.grace_remaining)


def test_it_numbers_periods_as_the_rules_do(engine: Engine) -> None:
    rows = select(
        engine,
        "SELECT kind, day, streak_period(kind, DATE '1970-01-01' + day) AS number"
        " FROM unnest(CAST(:kinds AS text[])) AS kind, generate_series(0, 40000) AS day",
        kinds=list(KINDS),
    )
    assert [
        row for row in rows if row["number"] != period_of_day(Cadence(row["kind"]), row["day"])
    ] == []


def test_it_knows_the_local_date_in_every_zone_that_may_be_given(engine: Engine) -> None:
    """In a year that no release of the zones' data changes any more; see CET, also a code."""
    rows = select(
        engine,
        "SELECT name, instant, CAST(streak_local_time(instant, name) AS date) AS day"
        " FROM unnest(CAST(:names AS text[])) AS name,"
        " generate_series(timestamptz '2023-01-14 00:00Z', '2023-12-31', '77 hours') AS instant",
        names=sorted(zone_names()),
    )  # fmt: skip
    assert len(rows) > 60_000
    assert [row for row in rows if row["day"] != local_date(row["instant"], row["name"])] == []


def local_date(instant: datetime, name: str) -> date:
    return instant.astimezone(zone_info(name)).date()


def test_it_takes_a_zone_that_the_server_does_not_know_for_utc(engine: Engine) -> None:
    (row,) = select(
        engine,
        "SELECT streak_local_time(timestamptz '2026-05-23 23:30Z', 'Mars/Olympus') AS local,"
        " streak_period_starts_at('daily', 3, 'Mars/Olympus') AS starts",
    )
    assert row["local"] == datetime(2026, 5, 23, 23, 30)  # noqa: DTZ001 - a local time
    assert row["starts"] == datetime(1970, 1, 4, tzinfo=UTC)


# Where clocks skip midnight, show it twice, change by half an hour or not at all.
ZONES = [
    "UTC", "America/Havana", "Africa/Cairo", "Asia/Beirut", "America/Santiago", "Atlantic/Azores",
    "Australia/Lord_Howe", "Australia/Sydney", "America/Los_Angeles", "Europe/London", "CET", "EST",
    "Pacific/Apia", "Asia/Kathmandu", "America/Nuuk", "Antarctica/Troll", "Pacific/Kiritimati",
]  # fmt: skip


SHIFTED: list[tuple[PeriodKind, dict[str, str], str]] = [
    ("daily", {"day_starts_at": "04:00"}, "5 hours"),
    ("daily", {"day_starts_at": "01:45"}, "47 minutes"),  # clocks go back over it, or skip it
    ("daily", {"day_starts_at": "02:30"}, "47 minutes"),
    ("weekly", {"week_starts_on": "sunday"}, "5 hours"),
    ("weekly", {"week_starts_on": "wednesday", "day_starts_at": "23:59"}, "5 hours"),
    ("monthly", {"day_starts_at": "02:10"}, "5 hours"),
]


@pytest.mark.parametrize(("kind", "fields", "step"), SHIFTED)
def test_it_reads_weeks_and_days_that_start_elsewhere_as_the_rules_do(
    engine: Engine, kind: PeriodKind, fields: dict[str, str], step: str
) -> None:
    cadence = cadence_of(kind, fields)
    rows = select(
        engine,
        "SELECT name, instant, streak_cadence_period(:kind, CAST(:fields AS jsonb), instant, name)"
        " AS number FROM unnest(CAST(:names AS text[])) AS name,"
        " generate_series(timestamptz '2023-01-01 00:00Z', '2023-12-31', CAST(:step AS interval))"
        " AS instant",
        kind=kind, fields=json.dumps(fields), names=ZONES, step=step,
    )  # fmt: skip
    assert len(rows) > 29_000
    assert [
        row for row in rows
        if row["number"] != period_at(cadence, clock.to_us(row["instant"]), row["name"])
    ] == []  # fmt: skip
    starts = select(
        engine,
        "SELECT name, number,"
        " streak_cadence_starts_at(:kind, CAST(:fields AS jsonb), number, name) AS starts"
        " FROM unnest(CAST(:names AS text[])) AS name, unnest(CAST(:numbers AS int[])) AS number",
        kind=kind, fields=json.dumps(fields), names=ZONES,
        numbers=sorted({row["number"] for row in rows}),
    )  # fmt: skip
    assert [
        row for row in starts if row["starts"] != starts_at(cadence, row["number"], row["name"])
    ] == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_when_a_period_begins_as_the_rules_do(engine: Engine, kind: PeriodKind) -> None:
    days = [(date(2023, 1, 1) + timedelta(nth) - date(1970, 1, 1)).days for nth in range(365)]
    numbers = sorted({period_of_day(Cadence(kind), day) for day in days})
    rows = select(
        engine,
        "SELECT name, number, streak_period_starts_at(:kind, number, name) AS starts"
        " FROM unnest(CAST(:names AS text[])) AS name, unnest(CAST(:numbers AS int[])) AS number",
        kind=kind, names=ZONES, numbers=numbers,
    )  # fmt: skip
    assert len(rows) == len(ZONES) * len(numbers)
    assert [
        row for row in rows if row["starts"] != starts_at(Cadence(kind), row["number"], row["name"])
    ] == []
