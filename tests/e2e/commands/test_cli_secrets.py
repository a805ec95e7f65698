"""`unbroken secrets`: a key ring is rotated while secrets stay readable and are never shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from api.cli.commands.secrets import BATCH
from api.cli.local.embedded import Urls, embedded
from models.db import Engine, engine, reading, transaction
from models.identity import tenants
from tests.e2e.running import invoke, short_folder, unbroken, unbroken_json
from webhooks import secrets

COUNT = BATCH + 50  # more than a transaction takes


@pytest.fixture(scope="module")
def urls() -> Iterator[Urls]:
    """Two servers of one's own, migrated."""
    parent = short_folder()
    with embedded(parent / "d") as found:
        unbroken_json("migrate", DATABASE_URL=found.database_url)
        yield found
    shutil.rmtree(parent)


@pytest.fixture
def database(urls: Urls) -> Iterator[Engine]:
    """The database, without destinations."""
    made = engine(urls.database_url, timeout_ms=30_000)
    with transaction(made) as session:
        session.execute(sa.text("DELETE FROM webhooks"))
    yield made
    made.dispose()


@pytest.fixture
def env(urls: Urls) -> dict[str, str]:
    """The environment that names the servers."""
    return {"DATABASE_URL": urls.database_url, "REDIS_URL": urls.redis_url}


def new_key() -> str:
    return unbroken("secrets", "new-key").stdout.strip()


def store(database: Engine, keys: str, count: int = COUNT) -> list[str]:
    """Destinations under the first of some keys, every tenth with three secrets; return those."""
    ring, made = secrets.ring(keys), []
    with transaction(database) as session:
        side = tenants.create(session, f"t-{os.urandom(4).hex()}", 0)["live"]
        for nth in range(count):
            clear = [secrets.generate(), secrets.generate(), secrets.generate_signing_key()]
            kept = [*clear] if nth % 10 == 0 else [clear[0], None, None]
            made += [one for one in kept if one]
            session.execute(
                sa.text(
                    "INSERT INTO webhooks (tenant_id, id, url, event_types, is_enabled, secret,"
                    " previous_secret, previous_until, signing_key, created_at, updated_at)"
                    " VALUES (:tenant_id, gen_random_uuid(), 'https://x/', '{*}', true, :secret,"
                    " :previous, CASE WHEN :previous IS NULL THEN NULL ELSE now() END, :signing,"
                    " now(), now())"
                ),
                {"tenant_id": side.id}
                | {
                    name: one and secrets.encrypt(ring, one)
                    for name, one in zip(("secret", "previous", "signing"), kept, strict=True)
                },
            )
    return sorted(made)


def rows(database: Engine) -> list[Any]:
    """Every destination as it is stored."""
    with reading(database) as session:
        return list(session.execute(sa.text("SELECT * FROM webhooks ORDER BY tenant_id, id")))


def clear(database: Engine, keys: str) -> list[str]:
    """Every secret, as some keys open it."""
    ring = secrets.ring(keys)
    stored = [one for row in rows(database) for one in secrets_of(row)]
    return sorted(secrets.decrypt(ring, one) for one in stored)


def secrets_of(row: Any) -> list[str]:
    return [one for one in (row.secret, row.previous_secret, row.signing_key) if one is not None]


def rotated(env: dict[str, str], keys: str, *options: str) -> Any:
    return unbroken_json("secrets", "rotate-key", *options, **env, UNBROKEN_SECRET_KEYS=keys)


def counted(env: dict[str, str], keys: str) -> dict[int, tuple[int, str]]:
    found = unbroken_json("secrets", "check", **env, UNBROKEN_SECRET_KEYS=keys)
    return {row["key"]: (row["secrets"], row["verdict"]) for row in found}


def test_a_ring_is_rotated_until_the_old_key_may_be_dropped(
    database: Engine, env: dict[str, str]
) -> None:
    old, new = new_key(), new_key()
    made = store(database, old)
    both = f"{new},{old}"
    assert counted(env, both) == {
        1: (0, "newest: encrypts"),
        2: (len(made), "still needed: run `unbroken secrets rotate-key`"),
    }
    told = {"destinations": COUNT, "secrets": len(made), "unreadable": 0}
    assert rotated(env, both) == told | {"reencrypted": len(made), "dry_run": False}
    assert counted(env, both) == {1: (len(made), "newest: encrypts"), 2: (0, "may be dropped")}
    assert clear(database, new) == made
    assert counted(env, new) == {1: (len(made), "newest: encrypts")}


def test_a_dry_run_changes_nothing(database: Engine, env: dict[str, str]) -> None:
    old, new = new_key(), new_key()
    made = store(database, old, 10)
    before = rows(database)
    told = {"destinations": 10, "secrets": len(made), "unreadable": 0}
    assert rotated(env, f"{new},{old}", "--dry-run") == told | {
        "reencrypted": len(made),
        "dry_run": True,
    }
    assert rows(database) == before


def test_it_goes_on_where_it_was_interrupted_and_touches_nothing_twice(
    database: Engine, env: dict[str, str]
) -> None:
    old, new = new_key(), new_key()
    both = f"{new},{old}"
    store(database, new, 5)  # as a run that was killed, or an API process, leaves them
    done = {row.id: row for row in rows(database)}
    left = store(database, old, 5)
    assert rotated(env, both)["reencrypted"] == len(left)
    after = {row.id: row for row in rows(database)}
    assert {one: after[one] for one in done} == done
    assert rotated(env, both)["reencrypted"] == 0


def test_only_the_secrets_change(database: Engine, env: dict[str, str]) -> None:
    old, new = new_key(), new_key()
    store(database, old, 3)
    kept = ("tenant_id", "id", "url", "previous_until", "created_at", "updated_at")
    before = [[getattr(row, name) for name in kept] for row in rows(database)]
    rotated(env, f"{new},{old}")
    assert [[getattr(row, name) for name in kept] for row in rows(database)] == before


def test_what_no_key_opens_is_said_counted_and_left_alone(
    database: Engine, env: dict[str, str]
) -> None:
    lost, old, new = new_key(), new_key(), new_key()
    store(database, lost, 1)
    before = rows(database)
    readable = store(database, old, 2)
    for command in ("check", "rotate-key"):
        done = invoke("secrets", command, **env, UNBROKEN_SECRET_KEYS=f"{new},{old}")
        assert done.returncode == 1
        assert "3 secrets are under none of the keys" in done.stderr
        assert "Traceback" not in done.stderr
    after = {row.id: row for row in rows(database)}
    assert [after[row.id] for row in before] == before
    assert counted_lines(env, f"{new},{old}") == [len(readable), 0, 3]


def counted_lines(env: dict[str, str], keys: str) -> list[int]:
    """What `check` prints for people: a line a key, and one for what is under none."""
    done = invoke("secrets", "check", **env, UNBROKEN_SECRET_KEYS=keys)
    return [int(line.split()[1]) for line in done.stdout.splitlines()[1:]]


def test_progress_goes_to_stderr_and_no_secret_or_key_goes_anywhere(
    database: Engine, env: dict[str, str]
) -> None:
    old, new = new_key(), new_key()
    made = store(database, old)
    before = [one for row in rows(database) for one in secrets_of(row)]
    said = ""
    for command in (["check"], ["rotate-key", "--dry-run"], ["rotate-key"], ["check"]):
        done = invoke("secrets", *command, **env, UNBROKEN_SECRET_KEYS=f"{new},{old}")
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
        if command == ["rotate-key"]:
            assert done.stderr.splitlines() == [
                f"{BATCH} of {COUNT} destinations",
                f"{COUNT} of {COUNT} destinations",
            ]
            expected = f"{len(made)} of {len(made)} secrets encrypted again with the newest key."
            assert done.stdout.strip() == expected
    assert [one for one in (*made, *before, old, new) if one in said] == []


def test_new_keys_fit_and_differ() -> None:
    first, second = new_key(), new_key()
    assert first != second
    ring = secrets.ring(f"{first},{second}")
    assert secrets.decrypt(ring, secrets.encrypt(ring, "x")) == "x"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [("", "UNBROKEN_SECRET_KEYS is empty"), ("hunter2", "Key 1 of UNBROKEN_SECRET_KEYS")],
)
def test_a_ring_that_cannot_be_used_is_said_in_one_line(
    env: dict[str, str], keys: str, sentence: str
) -> None:
    for command in ("check", "rotate-key"):
        done = invoke("secrets", command, **env, UNBROKEN_SECRET_KEYS=keys)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr
        assert "hunter2" not in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [[], ["new-key"], ["check"], ["rotate-key"]])
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    shown = invoke("secrets", *command, "--help").stdout
    assert "Usage: " in shown
    assert "Example:" in shown
