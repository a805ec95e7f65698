"""GET /participants/{id}/export: everything that an erasure would delete, in one document."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape
from tempfile import SpooledTemporaryFile
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from pydantic import TypeAdapter

from api.cli.local.proc import wait_until
from api.resources.participants import personal_data as route
from api.resources.participants.personal_documents import PersonalData
from models.db import Engine, reading, tenant_isolation, transaction
from models.people import personal_data
from settings import Settings
from tests.calls import client_of, make_key, make_streak, noon, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.batches import PATIENCE_SECONDS
from tests.integration.browsing import Person
from tests.integration.lives import define, filled, live, tables_of_people
from tests.integration.ranking import Place
from tests.integration.workers.test_contention import is_waiting_for_a_lock
from tests.integration.world import World
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver

WHO = "jane/doe-7f3a"
BESIDE = {"participants": "profile", "dead_letters": "dead_letters"}  # table: where it is shown


def url_of(who: str = WHO) -> str:
    return f"{BASE}/participants/{quote(who, safe='')}"


def export(client: FlaskClient, who: str = WHO) -> dict[str, Any]:
    response = client.get(f"{url_of(who)}/export")
    assert response.status_code == 200, response.text
    assert response.content_length == len(response.data)
    found: dict[str, Any] = response.get_json()
    TypeAdapter(PersonalData).validate_python(found)
    return found


@pytest.fixture
def lived(client: FlaskClient, place: Place, world: World, receiver: Receiver) -> str:
    """A participant with a row in every table."""
    receiver.reply = lambda request: Answer(200, b"thank you, Jane")
    live(client, place, world, WHO, define(client, place, world, receiver.url))
    return WHO


def test_every_table_about_people_is_exported_and_erased(
    lived: str, client: FlaskClient, engine: Engine, account: Account
) -> None:
    shown = {table: one.name for one in personal_data.SECTIONS for table in one.tables} | BESIDE
    assert sorted(shown) == filled(engine, account.live) == tables_of_people(engine)
    found = export(client, lived)
    assert [table for table, name in shown.items() if not found[name]] == []
    assert client.delete(url_of(lived)).status_code == 200
    assert filled(engine, account.live) == []
    problem(client.get(f"{url_of(lived)}/export"), 404, "participant_not_found")


def test_it_says_names_and_instants_and_no_secret(lived: str, client: FlaskClient) -> None:
    found = export(client, lived)
    assert found["participant_id"] == WHO
    assert found["profile"] == found["profile"] | {
        "display_name": "Jane", "timezone": "Australia/Sydney", "attributes": {"plan": "x"},
        "tags": ["vip"], "balance": 80, "total_earned": 100, "total_spent": 20,
        "tier_code": "silver", "rewards_claimed": 1, "total_events": 3,
    }  # fmt: skip
    assert found["ticks"][0]["timestamp"] == noon(5)
    assert found["ticks"][0]["metadata"] == {"note": WHO}
    assert found["ticks"][0]["period_key"] == found["streaks"][0]["recorded"][0][0]
    assert [one["amount"] for one in found["points_transactions"]] == [100, -20]
    assert found["claims"][0]["metadata"] == {"size": "L"}
    assert found["attempts"][0]["response"] == "thank you, Jane"
    assert found["attempts"][0]["destination"].startswith("http://127.0.0.1:")
    told = {one["id"] for one in found["facts"]}
    assert told == {one["fact_id"] for one in found["deliveries"]}
    assert "token=secret" not in json.dumps(found)
    assert found["dead_letters"][0]["write"]["participant_id"] == WHO
    moments = [value for name, value in _leaves(found) if name.endswith("_at") and value]
    assert moments and all(one.endswith("Z") for one in moments)


def _leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in _leaves(one, key)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one, name)]
    return [(name, value)]


def test_a_history_of_more_rows_than_are_held_in_memory_is_whole_and_in_order(
    client: FlaskClient, account: Account, pipeline: Pipeline, engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(personal_data, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(route, "MEMORY_BYTES_MAX", 1_000)
    make_streak(client)
    for day in range(30, 0, -1):
        post_tick(client, WHO, timestamp=noon(day))
    pipeline.drain()
    found = export(client)
    ids = [one["tick_id"] for one in found["ticks"]]
    assert ids == sorted(ids), "in order of acceptance, to the millisecond"
    assert sorted(one["timestamp"] for one in found["ticks"]) == [
        noon(day) for day in range(30, 0, -1)
    ]
    assert [one["sequence"] for one in found["facts"]] == list(range(1, 31))
    assert found["streaks"][0]["longest_count"] == 30


def test_a_document_goes_to_the_disk_while_it_is_written(
    lived: str, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[Any] = []

    def spooled(bytes_max: int) -> Any:
        files.append(SpooledTemporaryFile(1_000))  # noqa: SIM115 - the route closes it
        return files[-1]

    def parts(*given: Any) -> Iterator[bytes]:
        yield b"x" * 1_001
        assert files[-1]._rolled
        yield b"y"

    monkeypatch.setattr(route, "SpooledTemporaryFile", spooled)
    monkeypatch.setattr(route, "_parts", parts)
    assert len(client.get(f"{url_of()}/export").data) == 1_002


def test_only_an_admin_key_may_and_each_export_leaves_a_line_that_names_nobody(
    lived: str, app: Flask, client: FlaskClient, engine: Engine, account: Account
) -> None:
    plain = client_of(app, make_key(engine, account.live))
    problem(plain.get(f"{url_of()}/export"), 403, "forbidden")
    problem(client.get(f"{url_of('no one')}/export"), 404, "participant_not_found")
    assert lines(engine, account) == []
    export(client)
    [line] = lines(engine, account)
    assert line.key_id is not None
    assert WHO not in str(line)


def lines(engine: Engine, account: Account) -> list[Any]:
    statement = sa.text(
        "SELECT * FROM audit_log WHERE tenant_id = :id AND action = 'participant.exported'"
    )
    with reading(engine) as session:
        return list(session.execute(statement, {"id": account.live.id}))


def test_the_other_mode_and_another_tenant_have_nobody_of_that_id(
    lived: str, app: Flask, account: Account, make_account: Any
) -> None:
    for key in (account.keys["test"], make_account().keys["live"]):
        problem(client_of(app, key).get(f"{url_of()}/export"), 404, "participant_not_found")


def test_the_snapshot_sees_one_tenant_only(
    lived: str, settings: Settings, account: Account, make_account: Any
) -> None:
    other = make_account()
    engine = tenant_isolation.engine(settings.database_url, timeout_ms=5_000, pool=1)
    for tenant, count in ((other.live, 0), (account.live, 3)):
        with tenant_isolation.snapshot(engine, tenant.id) as session:
            found = session.execute(sa.text("SELECT count(*) FROM ticks")).scalar_one()
        assert found == count
    engine.dispose()


def test_more_exports_than_may_run_are_put_off(client: FlaskClient, account: Account) -> None:
    with ExitStack() as others:
        slots = client.application.extensions["unbroken"].slots
        while others.enter_context(slots.exports.slot()):
            pass
        response = client.get(f"{url_of()}/export")
    problem(response, 503, "unavailable")
    assert response.headers["Retry-After"]
    problem(client.get(f"{url_of()}/export"), 404, "participant_not_found")


def test_a_full_disk_of_temporary_files_is_said_and_frees_the_place(
    lived: str, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(route, "_parts", full)
        for _ in range(10):  # more than run at once
            problem(client.get(f"{url_of()}/export"), 503, "unavailable")
    export(client)


def test_an_erasure_that_came_first_leaves_nothing_to_export(
    lived: str, client: FlaskClient, engine: Engine, account: Account
) -> None:
    answers: list[Any] = []
    reader = threading.Thread(target=lambda: answers.append(client.get(f"{url_of()}/export")))
    with transaction(engine) as session:
        session.execute(
            sa.text("DELETE FROM leaderboard_entries WHERE tenant_id = :id"),
            {"id": account.live.id},
        )
        session.execute(
            sa.text("DELETE FROM participants WHERE tenant_id = :id"), {"id": account.live.id}
        )
        reader.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    reader.join(30)
    problem(answers[0], 404, "participant_not_found")


def test_an_export_waits_for_no_batch_and_no_batch_for_it(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline, settings: Settings
) -> None:
    make_streak(client)
    post_tick(client, WHO, timestamp=noon(2))
    pipeline.drain()
    held = tenant_isolation.engine(settings.database_url, timeout_ms=5_000, pool=1)
    with tenant_isolation.snapshot(held, account.live.id) as session:
        assert personal_data.hold(session, account.live.id, WHO)
        post_tick(client, WHO, timestamp=noon(1))
        pipeline.drain()
    held.dispose()
    assert len(export(client)["ticks"]) == 2


def test_the_dashboard_offers_it_as_a_file(lived: str, admin: Person) -> None:
    page = unescape(admin.get(f"/participants/{quote(WHO, safe='')}").text)
    [link] = re.findall(r'href="/dashboard(/participant.json[^"]+)"', page)
    response = admin.get(link)
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.get_json()["participant_id"] == WHO
    for who, status in (("nobody", 404), ("", 404)):
        assert admin.get(f"/participant.json?participant_id={who}").status_code == status
