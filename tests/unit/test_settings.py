"""Settings: the environment is read once, and what cannot be used is named."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from settings import Settings, SettingsError, variable

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


def test_only_the_two_urls_have_no_prefix() -> None:
    bare = [each.name for each in fields(Settings) if variable(each.name) == each.name.upper()]
    assert bare == ["database_url", "redis_url"]


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
