"""Row-level security: a forgotten condition shows and changes nobody else's rows."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.http import key_cache
from models.db import (
    Connection,
    DatabaseError,
    Engine,
    RefusedData,
    reading,
    tenant_isolation,
    transaction,
)
from models.db import engine as make_engine
from models.db.prepared import Prepared
from models.db.stall_guard import WatchedCursor
from models.identity import participants
from models.leaderboards import entries
from settings import Settings
from tests.calls import post_tick
from tests.conftest import Account
from tests.integration.sides import (
    PERSON,
    QUERIES,
    Side,
    act,
    look,
    make_sides,
    path_of,
    reachable,
    routes,
)
from tests.pipeline import Pipeline
from tests.receiver import Receiver
from workers.maintenance.leaderboards import LeaderboardUpdater

pytestmark = pytest.mark.promise("P4")

NEVER = {"tenants", "audit_log"}  # deleted by nobody who serves requests; the log is not changed

# What the writes of a side leave nothing in.
_MORE = """
INSERT INTO rejections (tenant_id, id, code)
  VALUES (:id, gen_random_uuid(), 'streak_not_found');
INSERT INTO erasures (tenant_id, digest, erased_at) VALUES (:id, '\\x00', now());
INSERT INTO webhook_health (tenant_id, webhook_id)
  SELECT tenant_id, id FROM webhooks WHERE tenant_id = :id ON CONFLICT DO NOTHING;
INSERT INTO streak_reviews (tenant_id, streak_id)
  SELECT tenant_id, id FROM streaks WHERE tenant_id = :id ON CONFLICT DO NOTHING;
INSERT INTO outages (tenant_id, id, starts_at, ends_at, reason, created_at)
  VALUES (:id, gen_random_uuid(), now(), now() + interval '1 hour', 'down', now());
INSERT INTO streak_milestones (tenant_id, participant_id, streak_id, count, period)
  SELECT tenant_id, participant_id, streak_id, 1, 0 FROM streak_states WHERE tenant_id = :id;
INSERT INTO streak_deadlines (tenant_id, participant_id, streak_id, due_at)
  SELECT tenant_id, participant_id, streak_id, now() FROM streak_states WHERE tenant_id = :id
  ON CONFLICT DO NOTHING;
"""


@pytest.fixture
def sides(
    app: Flask,
    engine: Engine,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
    receiver: Receiver,
) -> list[Side]:
    """Four sides with rows in every table."""
    made = make_sides(app, make_account, receiver.url)
    for side in made:
        act(side, pipeline)
        pipeline.deliver()
        assert post_tick(side.client, PERSON).status_code == 202
        pipeline.drain()  # and its fact is still to be delivered
        LeaderboardUpdater(engine, facts_days=90).run(10)
        with transaction(engine) as session:
            for statement in _MORE.split(";\n")[:-1]:
                session.execute(sa.text(statement), {"id": side.tenant.id})
    for side in made:  # when nobody follows any more, who would take them
        with transaction(engine) as session:
            participant = participants.find(session, side.tenant.id, PERSON)
            assert participant is not None
            entries.mark_changed(session, side.tenant.id, [participant.id])
    return made


@pytest.fixture
def guarded(app: Flask) -> Engine:
    """The engine that requests have."""
    engine: Engine = app.extensions["unbroken"].rows
    return engine


def rows_of(engine: Engine, table: str, column: str, tenant_id: int) -> list[str]:
    """A tenant's rows, as its owner sees them."""
    statement = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {column} = :id"
    with reading(engine) as session:
        found = session.execute(sa.text(statement), {"id": tenant_id})
        return sorted(row[0] for row in found)


def seen_by(session: Connection, table: str, column: str) -> set[int]:
    return set(session.execute(sa.text(f"SELECT {column} FROM {table}")).scalars())


# -- a statement without a condition ---------------------------------------------------------


def test_it_reads_only_the_rows_of_the_tenant_that_was_told(
    engine: Engine, guarded: Engine, sides: list[Side]
) -> None:
    for side in sides:
        for table, column in reachable(engine).items():
            for session in both_ways(guarded, side):
                assert seen_by(session, table, column) == {side.tenant.id}, table


def both_ways(guarded: Engine, side: Side) -> Iterator[Connection]:
    with tenant_isolation.transaction(guarded, side.tenant.id) as session:
        yield session
    with tenant_isolation.reading(guarded, side.tenant.id) as session:
        yield session


def test_it_shows_nothing_to_a_connection_that_was_told_nobody(
    engine: Engine, settings: Settings, sides: list[Side]
) -> None:
    fresh = tenant_isolation.engine(settings.database_url, timeout_ms=5_000, pool=1)
    for way in (reading, transaction):
        with way(fresh) as session:
            for table, column in reachable(engine).items():
                assert seen_by(session, table, column) == set(), table
    fresh.dispose()


def test_it_updates_and_deletes_only_the_rows_of_the_tenant_that_was_told(
    engine: Engine, guarded: Engine, sides: list[Side]
) -> None:
    mine, *others = sides
    names = reachable(engine)
    before = {
        (table, one.tenant.id): rows_of(engine, table, column, one.tenant.id)
        for table, column in names.items()
        for one in others
    }
    assert all(before.values()), "these tables stay untested: make rows in them"
    with tenant_isolation.transaction(guarded, mine.tenant.id) as session:
        for table in names.keys() - {"audit_log"}:
            column = "slug" if table == "tenants" else "tenant_id"
            count = len(seen_by(session, table, names[table]))
            changed = session.execute(sa.text(f"UPDATE {table} SET {column} = {column}"))
            assert changed.rowcount >= count == 1, table
        delete_all(session, set(names) - NEVER)
    for table, column in names.items():
        if table not in NEVER:
            assert rows_of(engine, table, column, mine.tenant.id) == [], table
        for one in others:
            now = rows_of(engine, table, column, one.tenant.id)
            assert now == before[table, one.tenant.id], table


def delete_all(session: Connection, left: set[str]) -> None:
    """Empty tables, each after those that refer to it."""
    while left:
        done = set()
        for table in left:
            with suppress(RefusedData), session.begin_nested():
                session.execute(sa.text(f"DELETE FROM {table}"))
                done.add(table)
        assert done, left
        left = left - done


def test_it_inserts_no_row_of_another_tenant(
    engine: Engine, guarded: Engine, sides: list[Side]
) -> None:
    mine, other, *_ = sides
    for table, column in reachable(engine).items():
        row = rows_of(engine, table, column, other.tenant.id)[0]
        statement = sa.text(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
            f" SELECT * FROM jsonb_populate_record(CAST(NULL AS {table}), CAST(:row AS jsonb))"
        )
        with (
            pytest.raises(DatabaseError, match="row-level security"),
            tenant_isolation.transaction(guarded, mine.tenant.id) as session,
        ):
            session.execute(statement, {"row": row})


def test_it_moves_no_row_to_another_tenant(
    engine: Engine, guarded: Engine, sides: list[Side]
) -> None:
    mine, other, *_ = sides
    for table in reachable(engine).keys() - NEVER:
        with (
            pytest.raises(DatabaseError, match="row-level security"),
            tenant_isolation.transaction(guarded, mine.tenant.id) as session,
        ):
            session.execute(sa.text(f"UPDATE {table} SET tenant_id = {other.tenant.id}"))


# -- connections that others had before ------------------------------------------------------


def test_it_holds_whoever_had_the_connection_before_and_however_that_ended(
    settings: Settings, engine: Engine, sides: list[Side]
) -> None:
    one = tenant_isolation.engine(settings.database_url, timeout_ms=5_000, pool=1)
    chance = random.Random(20_260_523)
    ways = [reads, writes, rolls_back, fails, fails_in_transaction, reads_prepared, fails_prepared]
    for _ in range(400):
        chance.choice(ways)(one, chance.choice(sides).tenant.id)
    one.dispose()


def assert_only(session: Connection, tenant_id: int) -> None:
    assert seen_by(session, "streaks", "tenant_id") == {tenant_id}


def reads(one: Engine, tenant_id: int) -> None:
    with tenant_isolation.reading(one, tenant_id) as session:
        assert_only(session, tenant_id)


def writes(one: Engine, tenant_id: int) -> None:
    with tenant_isolation.transaction(one, tenant_id) as session:
        session.execute(sa.text("UPDATE streaks SET name = name"))
        assert_only(session, tenant_id)


def rolls_back(one: Engine, tenant_id: int) -> None:
    with suppress(ZeroDivisionError), tenant_isolation.transaction(one, tenant_id) as session:
        assert_only(session, tenant_id)
        _ = 1 / 0


def fails(one: Engine, tenant_id: int) -> None:
    with pytest.raises(DatabaseError), tenant_isolation.reading(one, tenant_id) as session:
        session.execute(sa.text("SELECT 1 / 0"))


def fails_in_transaction(one: Engine, tenant_id: int) -> None:
    with pytest.raises(DatabaseError), tenant_isolation.transaction(one, tenant_id) as session:
        session.execute(sa.text("SELECT 1 / 0"))


_ALL = Prepared("all_streaks", "int", "SELECT tenant_id FROM streaks WHERE $1 > 0")
_BROKEN = Prepared("broken", "int", "SELECT 1 / ($1 - $1) FROM streaks")


def reads_prepared(one: Engine, tenant_id: int) -> None:
    assert {row[0] for row in tenant_isolation.read(one, tenant_id, _ALL, (1,))} == {tenant_id}


def fails_prepared(one: Engine, tenant_id: int) -> None:
    with pytest.raises(DatabaseError):
        tenant_isolation.read(one, tenant_id, _BROKEN, (1,))


# -- the demonstration: every condition on the tenant is forgotten ---------------------------

_CONDITION = re.compile(
    r"(?:\b\w+\.)?\btenant_id\s*=\s*(?:\$1|%\(\w+\)s(?:::\w+)?|ANY\s*\(%\(\w+\)s[^)]*\))"
)


@contextmanager
def forgetting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement is sent without its conditions on the tenant; yields those that had any."""
    forgotten: list[str] = []
    send = WatchedCursor.execute

    def execute(self: WatchedCursor, query: Any, values: Any = None) -> None:
        text, count = _CONDITION.subn("true", query) if is_read(query) else (query, 0)
        if count:
            forgotten.append(text)
        send(self, text, values)

    with monkeypatch.context() as patched:
        patched.setattr(WatchedCursor, "execute", execute)
        patched.setattr(key_cache, "READ_SECONDS", 3_600.0)  # it reads above tenants, unguarded
        yield forgotten


def is_read(query: Any) -> bool:
    return isinstance(query, str) and not re.match(r"\s*(INSERT|UPDATE|DELETE)", query)


def test_it_answers_the_same_without_any_condition_on_the_tenant(
    engine: Engine, sides: list[Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in sides:
        expected = look(side, engine)
        with forgetting(monkeypatch) as forgotten:
            found = look(side, engine)
        assert len(forgotten) > 30
        for path in expected.keys() - {"rows"}:  # those were counted by their owner
            assert found[path] == expected[path], path


def test_without_the_guard_the_same_requests_show_others(
    settings: Settings,
    engine: Engine,
    app: Flask,
    sides: list[Side],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: what the test above forgets does show where nothing guards the rows."""
    context = app.extensions["unbroken"]
    unguarded = make_engine(settings.database_url, timeout_ms=5_000, pool=1)
    mine = sides[0]
    app.extensions["unbroken"] = replace(context, rows=unguarded)
    with forgetting(monkeypatch):
        found = {path: mine.client.get(path).text for path in paths(mine)}
    app.extensions["unbroken"] = context
    unguarded.dispose()
    others = [one for one in sides if one is not mine]
    leaking = [path for path, text in found.items() if any(one.name in text for one in others)]
    assert leaking != []  # where one row was expected, several are an error instead


def paths(side: Side) -> list[str]:
    gets = [rule for method, rule in routes(side.client.application) if method == "GET"]
    return [*QUERIES, *(path_of(rule, side.ids) for rule in gets)]
