"""Settings: the environment is read once, and what cannot be used is named."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
import sqlalchemy as sa

from models import db
from settings import SECRETS, Settings, SettingsError, variable, variables, without_secrets
from workers.intake.client import connect
from workers.runtime.celery_config import make_celery

ROOT = Path(__file__).parent.parent.parent
READS_ENVIRONMENT = re.compile(r"os\.environ\b|os\.getenv\b")


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_each_field_is_set_by_its_variable() -> None:
    read = Settings.from_env(
        {
            "DATABASE_URL": "postgresql://db/unbroken",
            "REDIS_URL": "redis://cache",
            "UNBROKEN_DRAIN_PROCESSES": "3",
            "UNBROKEN_WAIT_SECONDS": "0.5",
            "UNBROKEN_WEBHOOK_ALLOW_HTTP": "true",
            "UNBROKEN_WEBHOOK_PORTS": "*",
        }
    )
    assert (read.database_url, read.redis_url) == ("postgresql://db/unbroken", "redis://cache")
    assert (read.drain_processes, read.wait_seconds) == (3, 0.5)
    assert (read.webhook_allow_http, read.webhook_ports) == (True, "*")


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("0", False), ("False", False), ("", False)]
)
def test_a_switch_reads_one_and_true_in_any_case(text: str, value: bool) -> None:
    read = Settings.from_env({"UNBROKEN_WEBHOOK_ALLOW_HTTP": text})
    assert read.webhook_allow_http is value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("UNBROKEN_DRAIN_PROCESSES", "two"),
        ("UNBROKEN_DRAIN_PROCESSES", "1.5"),
        ("UNBROKEN_DRAIN_PROCESSES", ""),
        ("UNBROKEN_WAIT_SECONDS", "2s"),
        ("UNBROKEN_WEBHOOK_ALLOW_HTTP", "yes please"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{re.escape(text)}'"):
        Settings.from_env({name: text})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://db/unbroken"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://cache"}, "DATABASE_URL"),
    ],
)
def test_a_missing_url_is_named_with_what_to_do(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=f"{missing} is not set.*unbroken up"):
        Settings.from_env(given).require_urls()


def test_both_urls_are_enough() -> None:
    settings = Settings(database_url="postgresql://db/unbroken", redis_url="redis://cache")
    assert settings.require_urls() is settings


def test_variables_that_are_not_ours_are_left_alone() -> None:
    assert Settings.from_env({"PATH": "/bin", "WAIT_SECONDS": "x", "UNBROKEN_": "x"}) == Settings()


def test_only_what_lets_us_at_the_servers_has_no_prefix() -> None:
    bare = [each.name for each in fields(Settings) if variable(each.name) == each.name.upper()]
    assert bare == ["database_url", "database_password", "redis_url", "redis_password"]


# -- secrets in files, and apart from the URLs -----------------------------------------------------

NASTY = "p@s:/s#w%41?&x [é] '\\"  # in a URL, each of these would mean something else
PLACES = {
    "DATABASE_URL": "postgresql://unbroken@db:5432/unbroken",
    "REDIS_URL": "rediss://cache:6380/2",
}


@pytest.mark.parametrize("field", SECRETS)
def test_each_secret_may_be_in_a_file(tmp_path: Path, field: str) -> None:
    file = tmp_path / "secret"
    file.write_text("postgresql://of-the-file\n")
    name = variable(field)
    assert f"{name}_FILE" in variables()
    by_file = Settings.from_env({f"{name}_FILE": str(file), name: ""})  # empty: as compose has it
    assert by_file == Settings.from_env({name: "postgresql://of-the-file", f"{name}_FILE": ""})


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_a_password_given_apart_is_the_one_that_both_drivers_read(
    tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "secret").write_text(f"{NASTY}\r\n", newline="", encoding="utf-8")
    given = str(tmp_path / "secret") if suffix else NASTY
    passwords = {f"DATABASE_PASSWORD{suffix}": given, f"REDIS_PASSWORD{suffix}": given}
    read = Settings.from_env(PLACES | passwords)
    url = sa.make_url(db.normalise(read.database_url))
    assert (url.username, url.password, url.host, url.port) == ("unbroken", NASTY, "db", 5432)
    seen = connect(read.redis_url, 1.0).connection_pool.connection_kwargs
    assert (seen["password"], seen["host"], seen["port"], seen["db"]) == (NASTY, "cache", 6380, 2)
    broker = make_celery(read.redis_url).connection_for_write()
    assert (broker.password, broker.hostname, broker.port) == (NASTY, "cache", 6380)


def test_a_password_without_a_url_has_no_use_and_does_no_harm() -> None:
    assert Settings.from_env({"REDIS_PASSWORD": "x", "DATABASE_PASSWORD": "x"}) == Settings()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:one@db/unbroken",
        "postgresql://me@db/unbroken?password=one",
        "postgresql://:@db/unbroken",
    ],
)
def test_two_passwords_are_refused_and_none_is_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL holds a password, and DATABASE_PASSWORD"):
        Settings.from_env({"DATABASE_URL": url, "DATABASE_PASSWORD": "two"})


def test_a_value_and_a_file_of_it_are_refused() -> None:
    both = {"UNBROKEN_SECRET_KEYS": "x", "UNBROKEN_SECRET_KEYS_FILE": "/y"}
    with pytest.raises(
        SettingsError, match="UNBROKEN_SECRET_KEYS and UNBROKEN_SECRET_KEYS_FILE are both set"
    ):
        Settings.from_env(both)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo\n", "has more than one line"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"DATABASE_PASSWORD_FILE": str(file)})
    assert str(caught.value) == f"DATABASE_PASSWORD_FILE: {file} {reason}"


def test_what_a_child_is_given_anew_is_left_out_of_its_environment() -> None:
    environment = {"PATH": "/bin", "REDIS_PASSWORD": "x", "DATABASE_URL_FILE": "/x"}
    environment |= {"UNBROKEN_SECRET_KEYS_FILE": "/x", "UNBROKEN_PROXIES": "1"}
    assert without_secrets(environment) == {"PATH": "/bin", "UNBROKEN_PROXIES": "1"}


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().wait_seconds = 1.0  # type: ignore[misc]


def test_nothing_but_settings_reads_the_environment() -> None:
    folders = ("api", "workers", "webhooks", "models")
    readers = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if READS_ENVIRONMENT.search(path.read_text())
    ]
    # The command line hands its own environment on to the processes it starts.
    assert [path for path in readers if not path.startswith("api/cli/")] == []


def test_every_setting_stands_in_the_operations_guide_with_its_default() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| (\S*) ?\|", guide, re.MULTILINE))
    defaults = {variable(field.name): field.default for field in fields(Settings)}
    assert listed.keys() == defaults.keys()
    for name, default in defaults.items():
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert listed[name] == shown, name
