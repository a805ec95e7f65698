"""Export and import of ticks is the identity on states: zones, moves, late ticks, all periods."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.cli.main import main
from models.db import snapshot
from models.identity.tenants import Mode
from models.people import export as exports
from models.rules.periods import KINDS
from settings import Settings
from tests.calls import (
    client_of,
    make_streak,
    noon,
    post_batch,
    post_json,
    post_tick,
    problem,
    tick,
)
from tests.conftest import BASE, Account
from tests.e2e.running import ROOT, UNBROKEN, environment
from tests.e2e.service import Service, listening
from tests.pipeline import Pipeline

# From both ends of the earth, some a quarter of an hour or a whole day apart.
ZONES = st.sampled_from(
    [None, "UTC", "Pacific/Kiritimati", "Pacific/Niue", "Asia/Kathmandu", "America/New_York",
     "Etc/GMT+12", "Pacific/Chatham"]
)  # fmt: skip
PEOPLE = ("ann", "bob")
STREAKS = {
    f"{period}_{boundary}": {"period": period, "boundary": boundary}
    for period in KINDS for boundary in ("utc", "participant")
}  # fmt: skip


SOME = hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass(frozen=True)
class Tick:
    """A tick, so many hours ago."""

    participant_id: str
    streak_code: str
    hours_ago: int
    timezone: str | None

    def body(self, now: datetime) -> dict[str, Any]:
        """As it is posted."""
        at = (now - timedelta(hours=self.hours_ago)).isoformat()
        own = {"timezone": self.timezone} if self.timezone else {}
        return tick(self.participant_id, streak_code=self.streak_code, timestamp=at) | own


@dataclass(frozen=True)
class Move:
    """A participant's zone changes."""

    participant_id: str
    timezone: str | None


_TICKS = st.builds(
    Tick, st.sampled_from(PEOPLE), st.sampled_from(sorted(STREAKS)),
    st.integers(-13, 40 * 24), st.none() | st.none() | ZONES,
)  # fmt: skip
_MOVES = st.builds(Move, st.sampled_from(PEOPLE), ZONES)
# Somebody moves, ticks come, somebody moves again.
HISTORIES = st.lists(
    st.tuples(_MOVES, st.lists(_TICKS, min_size=1, max_size=8)), min_size=2, max_size=5
).map(lambda phases: [step for move, ticks in phases for step in (move, *ticks)])

# On the first day of the earth, and then on its last.
MOVED = [
    Move("ann", "Pacific/Kiritimati"),
    Tick("ann", "daily_participant", 30, None),
    Move("ann", "Pacific/Niue"),
]


@dataclass
class Sides:
    """Both sides of a tenant: one whose history is made, one that it is taken to."""

    account: Account
    clients: Mapping[Mode, FlaskClient]
    service: Service
    settings: Settings

    def play(self, steps: Sequence[Tick | Move], now: datetime) -> None:
        """A history, on the live side."""
        client = self.clients["live"]
        for is_move, some in groupby(steps, lambda step: isinstance(step, Move)):
            if is_move:
                for step in some:
                    if isinstance(step, Move):
                        self.move(client, step)
                continue
            ticks = [step.body(now) for step in some if isinstance(step, Tick)]
            answer = post_batch(client, *ticks).get_json()
            assert answer["accepted"] == len(ticks)
        self.service.pipeline.drain()

    def move(self, client: FlaskClient, step: Move) -> None:
        """Set a participant's zone, once what was accepted before is applied."""
        self.service.pipeline.drain()
        body = {"participant_id": step.participant_id}
        assert client.post(f"{BASE}/participants", json=body).status_code == 201
        path = f"{BASE}/participants/{step.participant_id}"
        assert client.patch(path, json={"timezone": step.timezone}).status_code == 200

    def take_across(self, path: Path, file_format: str) -> None:
        """Export the ticks of one side and import them into the other."""
        env = {
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "UNBROKEN_URL": self.service.url,
            "UNBROKEN_KEY": self.account.keys["test"],
        }
        export = ["export", self.account.slug, "ticks", "--format", file_format, "--out", str(path)]
        for command in (export, ["import", str(path), "--afresh"]):
            done = CliRunner(env=env).invoke(main, command)
            assert done.exit_code == 0, done.output
        self.service.pipeline.drain()

    def states(self, mode: Mode) -> list[dict[str, Any]]:
        """Every state of one side, as the database holds it."""
        with snapshot(self.service.pipeline.engine) as session:
            found = list(exports.states(session, self.account.sides[mode].id))
        return sorted(found, key=lambda one: (one["participant_id"], one["streak_code"]))

    def read(self, mode: Mode) -> list[Any]:
        """What the API says of every streak: alive, at risk, until when."""
        client = self.clients[mode]
        return [client.get(f"{BASE}/participants/{name}/streaks").get_json() for name in PEOPLE]

    def ledger(self, mode: Mode) -> list[dict[str, Any]]:
        """The exported ticks, without their ids."""
        with snapshot(self.service.pipeline.engine) as session:
            found = list(exports.ticks(session, self.account.sides[mode].id))
        return [one | {"tick_id": None} for one in found]


def make_sides(app: Flask, account: Account, service: Service, settings: Settings) -> Sides:
    """The same definitions on both sides."""
    clients: dict[Mode, FlaskClient] = {
        mode: client_of(app, key) for mode, key in account.keys.items()
    }
    for client in clients.values():
        for code, values in STREAKS.items():
            make_streak(client, code, grace_periods=1, **values)
    return Sides(account, clients, service, settings)


def test_states_are_the_same_after_export_and_import_whatever_moved_meanwhile(
    app: Flask,
    make_account: Callable[..., Account],
    pipeline: Pipeline,
    settings: Settings,
    tmp_path: Path,
) -> None:
    with listening(app, "", pipeline) as service:

        @given(HISTORIES, st.sampled_from(["csv", "ndjson"]), st.booleans())
        @example(steps=MOVED, file_format="csv", is_people_first=True)
        @SOME
        def check(steps: list[Tick | Move], file_format: str, is_people_first: bool) -> None:
            sides = make_sides(app, make_account(), service, settings)
            now = datetime.now(UTC).replace(microsecond=0)
            sides.play(steps, now)
            moves = {one.participant_id: one for one in steps if isinstance(one, Move)}
            for when in (True, False):
                if is_people_first is when:
                    for move in moves.values():
                        sides.move(sides.clients["test"], move)
                else:
                    sides.take_across(tmp_path / f"ticks.{file_format}", file_format)
            assert sides.states("test") == sides.states("live")
            assert sides.read("test") == sides.read("live")
            assert sides.ledger("test") == sides.ledger("live")

        check()


def test_an_export_is_utf_8_whatever_the_locale_says(
    client: FlaskClient, account: Account, pipeline: Pipeline, settings: Settings, tmp_path: Path
) -> None:
    make_streak(client)
    assert post_tick(client, "Zoë", timestamp=noon(1)).status_code == 202
    pipeline.drain()
    env = environment(
        DATABASE_URL=settings.database_url, REDIS_URL=settings.redis_url,
        LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
    )  # fmt: skip
    out = tmp_path / "ticks.csv"
    export = [*UNBROKEN, "export", account.slug, "ticks", "--format", "csv"]
    for more in ([], ["--out", str(out)]):
        done = subprocess.run([*export, *more], cwd=ROOT, env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert "Zoë,daily_login," in (out.read_bytes() if more else done.stdout).decode()


def test_long_work_says_in_a_log_how_far_it_is(
    client: FlaskClient,
    account: Account,
    pipeline: Pipeline,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.cli.progress.LINE_SECONDS", 0.0)
    make_streak(client)
    assert post_batch(client, *(tick(timestamp=noon(1)) for _ in range(1_000))).status_code == 202
    pipeline.drain()
    env = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    out = str(tmp_path / "ticks.csv")
    export = ["export", account.slug, "ticks", "--format", "csv", "--out", out]
    assert "1000 rows so far" in CliRunner(env=env).invoke(main, export).stderr
    dry_run = CliRunner(env={"UNBROKEN_KEY": ""}).invoke(main, ["import", out, "--dry-run"])
    assert (dry_run.exit_code, "1000 rows so far" in dry_run.stderr) == (0, True)


def test_a_counted_zone_goes_before_the_ticks_own_and_decides_nothing_else(
    client: FlaskClient, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client)
    midday = noon(2)  # the next day in Kiritimati, the same one in Tokyo
    body = tick(timestamp=midday, timezone="Asia/Tokyo", counted_timezone="Pacific/Kiritimati")
    assert post_json(client, f"{BASE}/streaks/record", body).status_code == 202
    pipeline.drain()
    with snapshot(pipeline.engine) as session:
        (found,) = exports.ticks(session, account.live.id)
        (state,) = exports.states(session, account.live.id)
    assert (found["timezone"], found["period_key"]) == ("Asia/Tokyo", noon(1)[:10])
    assert found["counted_timezone"] == "Etc/GMT-14"
    assert state["recorded"] == [[noon(1)[:10], noon(1)[:10]]]
    unknown = tick(counted_timezone="Mars/Base")
    answer = post_json(client, f"{BASE}/streaks/record", unknown)
    problem(answer, 422, "validation_error", "counted_timezone")
