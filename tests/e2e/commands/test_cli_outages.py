"""`unbroken outage`: one call gives every participant back what an outage took."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from settings import Settings
from tests.calls import another_app, client_of, make_streak, noon
from tests.conftest import Account
from tests.e2e.service import Service, listening
from tests.pipeline import Pipeline


@pytest.fixture
def service(settings: Settings, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """A tenant with a streak, and its API."""
    key = account.keys["live"]
    with another_app(settings) as app:
        make_streak(client_of(app, key))
        with listening(app, key, pipeline) as made:
            yield made


def test_an_outage_is_added_listed_and_removed(service: Service) -> None:
    ticks = [
        {"participant_id": "ann", "streak_code": "daily_login", "timestamp": noon(day)}
        for day in (4, 3, 1)
    ]
    service.call("POST", "/streaks/record/batch", json={"ticks": ticks})
    service.pipeline.drain()
    added = service.run("outage", "add", noon(2), noon(1), "Login was down")
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout.startswith(f"protected: every streak, {noon(2)} to {noon(1)}, id ")
    outage_id = added.stdout.strip().rpartition(" ")[2]
    profile = json.loads(service.run("profile", "ann", "--json").stdout)
    assert profile["streaks"][0]["current_count"] == 3
    listed = service.run("outage", "list").stdout
    assert outage_id in listed
    assert "Login was down" in listed
    removed = service.run("outage", "remove", outage_id)
    assert removed.stdout == f"removed: {outage_id}\n"
    assert json.loads(service.run("outage", "list", "--json").stdout) == []


def test_only_named_streaks_are_protected(service: Service) -> None:
    added = service.run("outage", "add", noon(2), noon(1), "x", "--streak", "daily_login", "--json")
    assert json.loads(added.stdout)["streak_codes"] == ["daily_login"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["add", noon(1), noon(2), "x"], "ends_at must be after starts_at"),
        (["add", noon(2), noon(1), "x", "--streak", "nope"], "must be the code of a streak"),
        (["add", "soon", noon(1), "x"], "starts_at must be an RFC 3339"),
        (["remove", "nope"], "outage_not_found"),
    ],
)
def test_what_is_no_outage_is_refused_in_a_sentence(
    service: Service, arguments: list[str], sentence: str
) -> None:
    refused = service.run("outage", *arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert sentence in refused.stderr
