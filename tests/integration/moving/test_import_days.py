"""The day for which an imported row counts: by the zone of the row, as by --timezone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.calls import client_of, make_streak
from tests.conftest import BASE, Account
from tests.integration.importing import Importing, day, importing
from tests.pipeline import Pipeline

HEAD = "participant_id,streak_code,timestamp,timezone"


@pytest.fixture
def place(app: Flask, account: Account, pipeline: Pipeline, tmp_path: Path) -> Iterator[Importing]:
    """An API that listens, and a folder; a second streak goes by the participant's own day."""
    with importing(app, account, pipeline, tmp_path) as made:
        make_streak(client_of(app, account.keys["live"]), "own_day", boundary="participant")
        yield made


@pytest.mark.parametrize("streak", ["daily_login", "own_day"])
@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("", "Pacific/Kiritimati"), ("", "Pacific/Auckland"), ("", "Pacific/Niue"),
        (" 00:10", "Pacific/Kiritimati"), (" 23:50", "America/New_York"),
        ("T00:10:00", "Asia/Tokyo"),
    ],
)  # fmt: skip
def test_days_and_naive_instants_are_on_the_calendar_of_their_row(
    place: Importing, streak: str, written: str, zone: str
) -> None:
    path = place.write("t.csv", f"{HEAD}\na,{streak},{day(5)}{written},{zone}\n")
    assert place.run(path, "--timezone", "Europe/Berlin").exit_code == 0
    other = place.write("o.csv", f"{HEAD}\nb,{streak},{day(5)}{written},\n")
    assert place.run(other, "--timezone", zone).exit_code == 0
    line = f'{{"participant_id":"c","streak_code":"{streak}","timestamp":"{day(5)}{written}"'
    lines = place.write("t.ndjson", f'{line},"timezone":"{zone}"}}\n')
    assert place.run(lines).exit_code == 0
    assert place.recorded() == {f"{name} {streak}": [[day(5), day(5)]] for name in "abc"}


def test_a_day_without_any_zone_is_that_day_wherever_its_participant_lives(
    place: Importing,
) -> None:
    client = client_of(place.service.app, place.service.key)
    for name, zone in (("east", "Pacific/Kiritimati"), ("west", "Pacific/Niue")):
        body = {"participant_id": name, "timezone": zone}
        assert client.post(f"{BASE}/participants", json=body).status_code == 201
    lines = [f"{name},{code},{day(5)},\n" for name in ("east", "west", "new")
             for code in ("daily_login", "own_day")]  # fmt: skip
    assert place.run(place.write("t.csv", f"{HEAD}\n{''.join(lines)}")).exit_code == 0
    pairs = [line.split(",")[:2] for line in lines]
    assert place.recorded() == {f"{name} {code}": [[day(5), day(5)]] for name, code in pairs}


def test_a_row_with_an_unknown_zone_is_refused(place: Importing) -> None:
    path = place.write("t.csv", f"{HEAD}\na,daily_login,{day(5)},Mars/Base\n")
    done = place.run(path)
    assert (done.exit_code, place.sent()) == (1, 0)
    assert "line 2: timezone 'Mars/Base' is no IANA time zone" in done.stderr
