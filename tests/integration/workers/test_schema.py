"""The schema: tenant first in every key, what must hold is checked, migrating is safe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from api.cli.local.embedded import Urls
from models.db import (
    DatabaseError,
    Engine,
    ForeignKeyViolation,
    RefusedData,
    metadata,
    reading,
    schema,
    transaction,
)
from models.db import engine as make_engine
from models.definitions import badges, challenges, programs, rewards
from models.delivery import destinations
from models.identity import tenants
from models.leaderboards import definitions
from models.ledgers import ticks, tier_changes
from models.streaks import calendars, outages, states
from models.streaks.states import Streak
from tests.conftest import Account
from tests.integration.batches import make_streak

# Why these may do without the tenant: it is what they find, or they stand above tenants.
WITHOUT_TENANT = {
    "tenants_pkey": "the tenant itself",
    "tenants_slug_mode_key": "how an operator names the tenant",
    "api_keys_sha256": "finds out whose key this is",
    "alembic_version_pkc": "one row for the whole database",
}
TABLES = {
    "tenants": tenants.tenants,
    "api_keys": tenants.api_keys,
    "streaks": states.streaks,
    "outages": outages.table,
    "webhooks": destinations.webhooks,
    "calendars": calendars.calendars,
    "badges": badges.badges,
    "programs": programs.programs,
    "tiers": tier_changes.tiers,
    "rewards": rewards.rewards,
    "challenges": challenges.challenges,
    "leaderboards": definitions.leaderboards,
}


def select(engine: Engine, statement: str, **values: object) -> list[sa.Row[tuple[object, ...]]]:
    """The rows of a statement."""
    with reading(engine) as session:
        return list(session.execute(sa.text(statement), values))


# -- tables ----------------------------------------------------------------------------------


def test_every_table_object_is_compared_here() -> None:
    assert set(metadata.tables) == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_object_says_what_the_database_has(name: str, engine: Engine) -> None:
    with reading(engine) as session:
        found = sa.inspect(session).get_columns(name)
    ours = {column.name: column for column in TABLES[name].columns}
    assert {one["name"] for one in found} == set(ours)
    for one in found:
        column = ours[one["name"]]
        assert one["type"].python_type is column.type.python_type, one["name"]
        assert one["nullable"] == bool(column.nullable), one["name"]


def test_the_ledgers_columns_are_those_of_the_database(engine: Engine) -> None:
    with reading(engine) as session:
        found = sa.inspect(session).get_columns("ticks")
    assert [one["name"] for one in found] == list(ticks.COLUMNS)


# -- tenant first ----------------------------------------------------------------------------

_UNIQUE = """
    SELECT c.relname AS name, i.indrelid::regclass::text AS of_table,
      (SELECT attname FROM pg_attribute WHERE attrelid = i.indrelid AND attnum = i.indkey[0])
        AS first_column
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace
"""
_FOREIGN = """
    SELECT k.conname AS name, k.conrelid::regclass::text AS of_table,
      k.confrelid::regclass::text AS to_table,
      (SELECT attname FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = k.conkey[1])
        AS first_column,
      (SELECT attname FROM pg_attribute WHERE attrelid = k.confrelid AND attnum = k.confkey[1])
        AS first_target
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
"""


def test_every_primary_and_unique_key_begins_with_the_tenant(engine: Engine) -> None:
    found = select(engine, _UNIQUE)
    without = {row.name for row in found if row.first_column != "tenant_id"}
    assert without == set(WITHOUT_TENANT)
    assert len(found) > 4 * len(WITHOUT_TENANT)


def test_every_foreign_key_begins_with_the_tenant_on_both_sides(engine: Engine) -> None:
    found = select(engine, _FOREIGN)
    assert found
    for row in found:
        target = "id" if row.to_table == "tenants" else "tenant_id"
        assert (row.first_column, row.first_target) == ("tenant_id", target), row.name


def test_every_table_has_a_primary_key(engine: Engine) -> None:
    statement = """
        SELECT c.relname FROM pg_class c
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    """
    assert select(engine, statement) == []


# -- checks ----------------------------------------------------------------------------------

TENANT = "INSERT INTO tenants (slug, mode, tick_secret, participant_writes_per_minute)"
STREAK = "INSERT INTO streaks (tenant_id, code, name, period, grace_periods, boundary)"
PERSON = "INSERT INTO participants (tenant_id, external_id, status, total_events, fact_sequence)"
STATE = (
    "INSERT INTO streak_states (tenant_id, participant_id, streak_id, recorded, current_count,"
    " longest_count, grace_remaining, revision, last_recorded_at)"
)
TICK = (
    "INSERT INTO ticks (tenant_id, id, participant_id, streak_id, period, occurred_at, outcome,"
    " new_count, previous_count, longest_count, is_new_record, grace_remaining)"
)
FACT = "INSERT INTO facts (tenant_id, id, participant_id, sequence, type, occurred_at, body)"
HOOK = "INSERT INTO webhooks (tenant_id, id, url, event_types, secret)"
DELIVERY = (
    "INSERT INTO deliveries (tenant_id, fact_id, webhook_id, status, attempts, next_attempt_at)"
)
ATTEMPT = "INSERT INTO attempts (tenant_id, id, fact_id, webhook_id, number, duration_ms)"
LETTER = "INSERT INTO dead_letters (tenant_id, id, kind, message, error, tries)"
ID = "gen_random_uuid()"
SECRET = "'\\x00112233445566778899aabbccddeeff'"

REFUSED = {
    "slug in capitals": f"{TENANT} VALUES ('Acme', 'live', {SECRET}, 0)",
    "slug empty": f"{TENANT} VALUES ('', 'live', {SECRET}, 0)",
    "slug too long": f"{TENANT} VALUES (repeat('a', 64), 'live', {SECRET}, 0)",
    "mode unknown": f"{TENANT} VALUES ('x', 'dry', {SECRET}, 0)",
    "secret short": f"{TENANT} VALUES ('x', 'live', '\\x00', 0)",
    "cap negative": f"{TENANT} VALUES ('x', 'live', {SECRET}, -1)",
    "hash short": (
        "INSERT INTO api_keys (tenant_id, id, sha256, hint) VALUES (:t, " + ID + ", '\\x00', '')"
    ),
    "code empty": f"{STREAK} VALUES (:t, '', 'n', 'daily', 0, 'utc')",
    "code too long": f"{STREAK} VALUES (:t, repeat('c', 51), 'n', 'daily', 0, 'utc')",
    "name empty": f"{STREAK} VALUES (:t, 'c', '', 'daily', 0, 'utc')",
    "period unknown": f"{STREAK} VALUES (:t, 'c', 'n', 'yearly', 0, 'utc')",
    "grace negative": f"{STREAK} VALUES (:t, 'c', 'n', 'daily', -1, 'utc')",
    "boundary unknown": f"{STREAK} VALUES (:t, 'c', 'n', 'daily', 0, 'server')",
    "nobody": f"{PERSON} VALUES (:t, '', 'ACTIVE', 0, 0)",
    "name too long": f"{PERSON} VALUES (:t, repeat('x', 256), 'ACTIVE', 0, 0)",
    "status unknown": f"{PERSON} VALUES (:t, 'x', 'active', 0, 0)",
    "events negative": f"{PERSON} VALUES (:t, 'x', 'ACTIVE', -1, 0)",
    "sequence negative": f"{PERSON} VALUES (:t, 'x', 'ACTIVE', 0, -1)",
    "no period": f"{STATE} VALUES (:t, :p, :s, '{{}}', 1, 1, 0, 1, now())",
    "count zero": f"{STATE} VALUES (:t, :p, :s, '{{[1,2)}}', 0, 1, 0, 1, now())",
    "longest below count": f"{STATE} VALUES (:t, :p, :s, '{{[1,2)}}', 2, 1, 0, 1, now())",
    "credits negative": f"{STATE} VALUES (:t, :p, :s, '{{[1,2)}}', 1, 1, -1, 1, now())",
    "outcome unknown": f"{TICK} VALUES (:t, {ID}, 1, 1, 1, now(), 'ok', 1, 0, 1, true, 0)",
    "new count zero": f"{TICK} VALUES (:t, {ID}, 1, 1, 1, now(), 'held', 0, 0, 1, true, 0)",
    "new above longest": f"{TICK} VALUES (:t, {ID}, 1, 1, 1, now(), 'held', 2, 0, 1, true, 0)",
    "previous negative": f"{TICK} VALUES (:t, {ID}, 1, 1, 1, now(), 'held', 1, -1, 1, true, 0)",
    "fact zero": f"{FACT} VALUES (:t, {ID}, 1, 0, 't', now(), 'b')",
    "url empty": f"{HOOK} VALUES (:t, {ID}, '', '{{*}}', 's')",
    "url too long": f"{HOOK} VALUES (:t, {ID}, repeat('u', 2049), '{{*}}', 's')",
    "no types": f"{HOOK} VALUES (:t, {ID}, 'u', '{{}}', 's')",
    "delivery unknown": f"{DELIVERY} VALUES (:t, {ID}, {ID}, 'sent', 0, now())",
    "attempts negative": f"{DELIVERY} VALUES (:t, {ID}, {ID}, 'pending', -1, now())",
    "attempt zero": f"{ATTEMPT} VALUES (:t, {ID}, {ID}, {ID}, 0, 1)",
    "duration negative": f"{ATTEMPT} VALUES (:t, {ID}, {ID}, {ID}, 1, -1)",
    "tries zero": f"{LETTER} VALUES (:t, {ID}, 'tick', 'm', 'e', 0)",
}


def insert(engine: Engine, statement: str, streak: Streak) -> None:
    """Insert a row under the account, about a fresh participant where one is needed."""
    with transaction(engine) as session:
        values = {"t": streak.tenant_id, "s": streak.id}
        participant = session.execute(
            sa.text(f"{PERSON} VALUES (:t, 'p', 'ACTIVE', 0, 0) RETURNING id"), values
        ).scalar_one()
        names = sa.text(statement).compile().params
        session.execute(
            sa.text(statement),
            {name: value for name, value in (values | {"p": participant}).items() if name in names},
        )


@pytest.mark.parametrize("what", REFUSED)
def test_a_row_that_must_not_be_is_refused(what: str, engine: Engine, streak: Streak) -> None:
    with pytest.raises(RefusedData) as refused:
        insert(engine, REFUSED[what], streak)
    # 23514: a check; a status without a partition of its own is refused under the same code
    assert getattr(refused.value.orig, "pgcode", None) == "23514"


@pytest.mark.parametrize(
    "statement",
    [
        f"{STREAK} VALUES (2147483647, 'c', 'n', 'daily', 0, 'utc')",
        f"{PERSON} VALUES (2147483647, 'x', 'ACTIVE', 0, 0)",
        f"{STATE} VALUES (:t, 9223372036854775807, :s, '{{[1,2)}}', 1, 1, 0, 1, now())",
        f"{STATE} VALUES (:t, :p, 2147483647, '{{[1,2)}}', 1, 1, 0, 1, now())",
        f"{HOOK} VALUES (2147483647, {ID}, 'u', '{{*}}', 's')",
    ],
)
def test_a_row_about_nothing_is_refused(statement: str, engine: Engine, streak: Streak) -> None:
    with pytest.raises(ForeignKeyViolation) as refused:
        insert(engine, statement, streak)
    assert getattr(refused.value.orig, "pgcode", None) == "23503"


def test_one_tenant_cannot_refer_to_anothers_rows(
    engine: Engine, account: Account, streak: Streak
) -> None:
    test_side = make_streak(engine, account.sides["test"].id)
    with pytest.raises(ForeignKeyViolation):
        insert(
            engine,
            f"{STATE} VALUES (:t, :p, {test_side.id}, '{{[1,2)}}', 1, 1, 0, 1, now())",
            streak,
        )


# -- migrating -------------------------------------------------------------------------------


@contextmanager
def fresh_database(servers: Urls, name: str) -> Iterator[Engine]:
    """An empty database for the length of a block."""
    admin = make_engine(servers.database_url, timeout_ms=30_000, pool=1)
    with reading(admin) as session:
        session.execute(sa.text(f"CREATE DATABASE {name}"))
    url = servers.database_url.replace("/unbroken?", f"/{name}?")
    engine = make_engine(url, timeout_ms=30_000, pool=8)
    try:
        yield engine
    finally:
        engine.dispose()
        with reading(admin) as session:
            session.execute(sa.text(f"DROP DATABASE {name}"))
        admin.dispose()


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    before = select(engine, "SELECT count(*) FROM pg_class")
    schema.migrate(engine)
    assert select(engine, "SELECT count(*) FROM pg_class") == before
    with reading(engine) as session:
        assert schema.revision(session) == schema.head()


def test_an_empty_database_has_no_revision(servers: Urls) -> None:
    with fresh_database(servers, "nothing") as engine, reading(engine) as session:
        assert schema.revision(session) is None


def test_several_that_migrate_at_once_wait_for_one_another(servers: Urls) -> None:
    failures: list[BaseException] = []
    with fresh_database(servers, "at_once") as engine:

        def run() -> None:
            try:
                schema.migrate(engine)
            except BaseException as error:  # noqa: BLE001 - the main thread judges it
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with reading(engine) as session:
            assert schema.revision(session) == schema.head()


def test_a_migration_that_fails_leaves_nothing_behind(servers: Urls) -> None:
    with fresh_database(servers, "half_made") as engine:
        with transaction(engine) as session:  # the last table of the first migration is taken
            session.execute(sa.text("CREATE TABLE attempts_default ()"))
        with pytest.raises(DatabaseError):
            schema.migrate(engine)
        assert [row.relname for row in select(engine, _OURS)] == ["attempts_default"]


_OURS = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
    " AND relnamespace = 'public'::regnamespace"
)


# Each holds a row for each write that was applied or refused.
LEDGERS = (
    "ticks", "awards", "point_transactions", "tier_changes", "reward_claims", "rejections",
    "streak_changes", "pauses",
)  # fmt: skip


@pytest.mark.promise("P2")
@pytest.mark.parametrize("table", LEDGERS)
def test_a_ledger_takes_a_write_once_even_from_two_drains(table: str, engine: Engine) -> None:
    statement = """
        SELECT (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
                WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)) AS columns
        FROM pg_index i WHERE i.indrelid = CAST(:table AS regclass) AND i.indisunique
        """
    keys = [row.columns for row in select(engine, statement, table=table)]
    assert ["id", "tenant_id"] in keys
