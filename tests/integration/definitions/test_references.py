"""What a definition refers to has to be there and active, also when it goes at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.cli.local.proc import wait_until
from models.db import Engine, reading, transaction
from models.definitions import badges
from tests.calls import make_badge, make_streak, problem
from tests.conftest import BASE, Account
from tests.integration.batches import count

Send = Callable[[FlaskClient, str], TestResponse]  # a definition that names a badge or streak


def streak_with(client: FlaskClient, badge_code: str) -> TestResponse:
    milestones = [{"count": 3}, {"count": 7, "badge_code": badge_code}]
    body = {"code": "other", "name": "Other", "milestones": milestones}
    return client.post(f"{BASE}/streaks", json=body)


def changed_streak(client: FlaskClient, badge_code: str) -> TestResponse:
    milestones = [{"count": 3}, {"count": 7, "badge_code": badge_code}]
    return client.patch(f"{BASE}/streaks/daily_login", json={"milestones": milestones})


def challenge_with(client: FlaskClient, **values: Any) -> TestResponse:
    plain = {"code": "c", "name": "C", "objective": {"type": "points"}, "target": 5}
    return client.post(f"{BASE}/admin/challenges", json=plain | values)


def prize(client: FlaskClient, badge_code: str) -> TestResponse:
    return challenge_with(client, badge_code=badge_code)


def changed_prize(client: FlaskClient, badge_code: str) -> TestResponse:
    made = challenge_with(client).get_json()["id"]
    return client.patch(f"{BASE}/admin/challenges/{made}", json={"badge_code": badge_code})


def counted(client: FlaskClient, badge_code: str) -> TestResponse:
    objective = {"type": "badges", "badge_codes": ["active", badge_code]}
    return challenge_with(client, objective=objective)


BADGE_FIELDS: dict[str, Send] = {
    "milestones.1.badge_code": streak_with,
    "milestones.1.badge_code of a change": changed_streak,
    "badge_code": prize,
    "badge_code of a change": changed_prize,
    "objective.badge_codes.1": counted,
}


@pytest.mark.parametrize("field", BADGE_FIELDS)
def test_a_badge_that_cannot_be_awarded_is_refused_by_name(
    field: str, client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_badge(client, "active")
    make_streak(client)
    gone = make_badge(client, "gone")
    assert client.delete(f"{BASE}/admin/badges/{gone['id']}").status_code == 200
    send = BADGE_FIELDS[field]
    for code in ("unknown", "gone"):
        response = send(client, code)
        document = problem(response, 422, "validation_error", field.split()[0])
        assert [one["code"] for one in document["errors"]] == ["unknown_badge"]
        assert "active badge" in document["errors"][0]["message"]
        client.delete(f"{BASE}/admin/challenges/c")
        with transaction(engine) as session:
            session.execute(sa.text("DELETE FROM challenges WHERE code = 'c'"))
    assert send(client, "active").status_code in (200, 201)
    assert count(engine, "streaks", account.live.id) == 1 + (send is streak_with)
    stored = client.get(f"{BASE}/streaks/daily_login").get_json()["milestones"]
    assert [one["badge_code"] for one in stored] == (
        [None, "active"] if send is changed_streak else []
    )


def test_a_challenge_of_a_streak_that_is_not_ticked_is_refused(client: FlaskClient) -> None:
    make_streak(client, "paused")
    client.delete(f"{BASE}/streaks/paused")
    for code in ("paused", "unknown"):
        response = challenge_with(client, objective={"type": "ticks", "streak_code": code})
        document = problem(response, 422, "validation_error", "objective.streak_code")
        assert document["errors"][0]["code"] == "unknown_streak"


# -- at the same moment ----------------------------------------------------------------------


def waiting_for_locks(engine: Engine) -> int:
    """How many statements wait for a lock."""
    with reading(engine) as session:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return int(session.execute(sa.text(statement)).scalar_one())


def test_a_badge_that_is_deactivated_at_the_same_moment_is_refused(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    made = make_badge(client, "active")
    found: list[TestResponse] = []
    sender = threading.Thread(target=lambda: found.append(streak_with(client, "active")))
    with transaction(engine) as session:
        badge = badges.definitions.by_id(session, account.live.id, UUID(made["id"]))
        badges.definitions.revise(session, badge, {"is_active": False})
        sender.start()
        assert wait_until(lambda: waiting_for_locks(engine) == 1, 30)
    sender.join()
    problem(found[0], 422, "validation_error", "milestones.1.badge_code")
    assert count(engine, "streaks", account.live.id) == 0


def test_a_badge_that_a_streak_has_just_named_is_deactivated_after_it(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    made = make_badge(client, "active")
    done: list[int] = []
    with transaction(engine) as session:
        assert badges.hold_active(session, account.live.id, ["active", "unknown"]) == {"active"}
        url = f"{BASE}/admin/badges/{made['id']}"
        deactivator = threading.Thread(target=lambda: done.append(client.delete(url).status_code))
        deactivator.start()
        assert wait_until(lambda: waiting_for_locks(engine) == 1, 30)
        assert done == []
    deactivator.join()
    assert done == [200]
