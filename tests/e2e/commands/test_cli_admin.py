"""The operator's commands, on a running service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from api.cli.local.embedded import Urls, embedded
from api.cli.program_name import program
from models.identity.tenants import is_well_formed
from tests.e2e.running import invoke, short_folder, unbroken, unbroken_json


@pytest.fixture(scope="module")
def urls() -> Iterator[Urls]:
    """Two servers of one's own, migrated."""
    parent = short_folder()
    with embedded(parent / "d") as found:
        unbroken_json("migrate", DATABASE_URL=found.database_url)
        yield found
    shutil.rmtree(parent)


@pytest.fixture
def env(urls: Urls) -> dict[str, str]:
    """The environment that names them."""
    return {"DATABASE_URL": urls.database_url, "REDIS_URL": urls.redis_url}


def assert_refused(arguments: list[str], code: int, sentence: str, env: dict[str, str]) -> None:
    """One line that says why, and the exit code."""
    done = invoke(*arguments, **env)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_may_run_again(env: dict[str, str]) -> None:
    assert unbroken("migrate", **env).stdout.startswith("database at revision ")


def test_a_tenant_has_two_admin_keys_shown_once(env: dict[str, str]) -> None:
    made = unbroken_json("tenant", "create", "acme", **env)
    assert made["tenant"] == "acme"
    assert made["live_key"].startswith("bq_live_")
    assert made["test_key"].startswith("bq_test_")
    assert is_well_formed(made["live_key"])
    keys = unbroken_json("key", "list", "--tenant", "acme", **env)
    assert [(key["mode"], key["scopes"]) for key in keys] == [
        ("live", ["admin"]),
        ("test", ["admin"]),
    ]
    assert made["live_key"] not in str(keys)


def test_for_people_it_prints_text(env: dict[str, str]) -> None:
    made = unbroken("tenant", "create", "for-people", **env)
    assert "live  bq_live_" in made.stdout
    listed = unbroken("tenant", "list", **env)
    assert "for-people" in listed.stdout
    assert "participant writes per minute" in listed.stdout


def test_a_tenant_is_changed_disabled_and_enabled(env: dict[str, str]) -> None:
    unbroken_json("tenant", "create", "changed", **env)
    cap = ("--participant-writes-per-minute", "600")
    row = {"tenant": "changed", "enabled": True, "participant_writes_per_minute": 600}
    row["unknown_fields"] = "refuse"
    assert unbroken_json("tenant", "set", "changed", *cap, **env) == row | {"writes_per_minute": 0}
    cap = ("--writes-per-minute", "9000")
    assert unbroken_json("tenant", "set", "changed", *cap, **env) == row | {
        "writes_per_minute": 9_000
    }
    allowed = unbroken_json("tenant", "set", "changed", "--unknown-fields", "allow", **env)
    assert allowed == row | {"writes_per_minute": 9_000, "unknown_fields": "allow"}
    assert unbroken_json("tenant", "disable", "changed", **env)["enabled"] is False
    assert unbroken_json("tenant", "enable", "changed", **env)["enabled"] is True


def test_a_key_is_created_listed_and_revoked(env: dict[str, str]) -> None:
    unbroken_json("tenant", "create", "keys", **env)
    which = ("--tenant", "keys")
    made = unbroken_json("key", "create", *which, "--mode", "live", "--expires", "30d", **env)
    assert made["key"].startswith("bq_live_")
    assert unbroken_json("key", "revoke", made["id"], **env) == {"id": made["id"], "revoked": True}
    listed = {key["id"]: key for key in unbroken_json("key", "list", *which, **env)}
    assert listed[made["id"]]["scopes"] == []
    assert listed[made["id"]]["expires_at"].endswith("Z")
    assert listed[made["id"]]["revoked_at"].endswith("Z")


def test_a_tenant_may_be_created_with_caps(env: dict[str, str]) -> None:
    caps = ("--participant-writes-per-minute", "7", "--writes-per-minute", "70")
    unbroken_json("tenant", "create", "capped", *caps, **env)
    listed = {one["tenant"]: one for one in unbroken_json("tenant", "list", **env)}
    assert listed["capped"] == {
        "tenant": "capped",
        "enabled": True,
        "participant_writes_per_minute": 7,
        "writes_per_minute": 70,
        "unknown_fields": "refuse",
    }


def test_a_key_is_capped_at_its_creation_and_later(env: dict[str, str]) -> None:
    unbroken_json("tenant", "create", "key-caps", **env)
    which = ("--tenant", "key-caps")
    options = ("--mode", "live", "--writes-per-minute", "60")
    made = unbroken_json("key", "create", *which, *options, **env)

    def listed() -> int:
        found = {key["id"]: key for key in unbroken_json("key", "list", *which, **env)}
        return int(found[made["id"]]["writes_per_minute"])

    assert listed() == 60
    row = {"id": made["id"], "writes_per_minute": 600}
    assert unbroken_json("key", "cap", made["id"], "600", **env) == row
    assert listed() == 600
    assert "no cap" in invoke("key", "cap", made["id"], "0", **env).stdout
    assert listed() == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["tenant", "create", "Not A Slug"], 2, "is not a slug"),
        (["tenant", "create", "x" * 64], 2, "is not a slug"),
        (["tenant", "set", "nobody-there"], 2, "nothing to set"),
        (["tenant", "disable", "nobody-there"], 1, "Tenant 'nobody-there' not found"),
        (["key", "list", "--tenant", "nobody-there"], 1, "Tenant 'nobody-there' not found"),
        (["key", "revoke", str(UUID(int=7))], 1, f"Key '{UUID(int=7)}' not found"),
        (["key", "revoke", "seven"], 2, "'seven' is not a valid UUID"),
        (["key", "cap", str(UUID(int=7)), "5"], 1, f"Key '{UUID(int=7)}' not found"),
        (["key", "cap", str(UUID(int=7)), "-5"], 2, "No such option '-5'"),
        (["key", "cap", str(UUID(int=7)), "1000001"], 2, "is not in the range 0<=x<=1000000"),
        (
            ["key", "create", "--tenant", "x", "--mode", "live", "--expires", "soon"],
            2,
            "'soon' is not a lifetime",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], code: int, sentence: str, env: dict[str, str]
) -> None:
    assert_refused(arguments, code, sentence, env)


def test_a_slug_is_taken_once(env: dict[str, str]) -> None:
    unbroken_json("tenant", "create", "taken", **env)
    assert_refused(["tenant", "create", "taken"], 2, "Tenant 'taken' exists already", env)


def test_without_a_service_it_says_what_to_start(tmp_path: Path) -> None:
    where = ["--data", str(tmp_path)]
    sentence = f"start `{program()} up`, name its folder with --data, or set DATABASE_URL"
    assert_refused(["tenant", "list", *where], 2, sentence, {})


def test_a_given_data_folder_comes_before_the_urls(tmp_path: Path, env: dict[str, str]) -> None:
    assert_refused(["tenant", "list", "--data", str(tmp_path)], 2, "nothing runs on", env)


def test_an_empty_database_is_not_migrated_by_accident(urls: Urls, env: dict[str, str]) -> None:
    empty = urls.database_url.replace("/unbroken?", "/postgres?")
    assert_refused(
        ["tenant", "list"], 2, f"run `{program()} migrate` first", env | {"DATABASE_URL": empty}
    )


def test_migrate_needs_a_url() -> None:
    assert_refused(["migrate"], 2, "DATABASE_URL is not set", {})


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["migrate"],
        ["tenant"],
        ["tenant", "set"],
        ["key"],
        ["key", "create"],
        ["key", "cap"],
    ],
)
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    shown = invoke(*command, "--help").stdout
    assert "Usage: " in shown
    assert "Example:" in shown
