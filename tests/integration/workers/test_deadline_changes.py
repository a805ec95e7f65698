"""Facts without a tick after a change of the participant or of the definition."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import transaction
from models.streaks import deadline_reviews
from tests.conftest import BASE
from tests.integration.batches import make_streak
from tests.integration.telling import AT_RISK, BROKEN, STRICT, Notified, live_in
from workers.maintenance import streak_deadlines as sweeping

# -- changes of the participant --------------------------------------------------------------


def test_nobody_is_told_of_a_risk_while_their_writes_are_rejected(
    told: Notified, client: FlaskClient
) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    for who in ("suspended", "back"):
        told.tick(streak, "2027-03-10T12:00", who)
        set_status(client, who, "SUSPENDED")
    assert told.sweep("2027-03-11T01:00") == []
    set_status(client, "back", "ACTIVE")
    assert told.sweep("2027-03-11T02:00") == [(AT_RISK, "daily")]
    assert told.sweep("2027-03-12T00:00")[1:] == [(BROKEN, "daily")] * 2
    assert told.facts()[0]["participant_id"] == "back"


def set_status(client: FlaskClient, who: str, status: str) -> None:
    body = {"external_id": who, "status": status}
    assert client.post("/v1/participants", json=body).status_code == 200


def test_who_moves_east_breaks_their_streak_earlier(told: Notified, client: FlaskClient) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT | {"boundary": "participant"})
    live_in(told, "America/Los_Angeles")
    told.tick(streak, "2027-03-10T18:00")
    assert told.dues() == ["2027-03-11 08:00"]
    moved = client.patch(f"{BASE}/participants/user_42", json={"timezone": "Asia/Tokyo"})
    assert moved.status_code == 200
    assert told.sweep("2027-03-10T19:00") == [(AT_RISK, "daily")]
    assert told.sweep("2027-03-11T15:00")[1:] == [(BROKEN, "daily")]


# -- changes of the definition ---------------------------------------------------------------


def change(client: FlaskClient, **values: Any) -> None:
    response = client.patch(f"{BASE}/streaks/daily", json=values)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("portion", [2_000, 2])
def test_new_rules_are_told_of_what_they_break_and_what_they_revive(
    told: Notified, client: FlaskClient, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "REVIEW_PORTION", portion)
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    for nth in range(5):
        told.tick(streak, "2027-03-10T12:00", f"early_{nth}")
        told.tick(streak, "2027-03-12T12:00", f"late_{nth}")
    assert told.sweep("2027-03-12T13:00") == [(BROKEN, "daily")] * 5
    change(client, grace_periods=2)
    assert told.sweep("2027-03-13T00:00")[5:] == [(AT_RISK, "daily")] * 5
    assert set(told.dues()) == {"2027-03-14 00:00", "2027-03-15 00:00"}
    change(client, grace_periods=0)
    told.sweep("2027-03-13T23:00")
    assert told.rows("SELECT FROM streak_reviews") == []
    again = sorted(fact["participant_id"] for fact in told.facts()[10:])
    assert again == [f"{when}_{nth}" for when in ("early", "late") for nth in range(5)]
    assert told.sweep("2027-03-14T00:00")[20:] == [(BROKEN, "daily")] * 5


def test_a_lead_may_be_set_and_taken_back(told: Notified, client: FlaskClient) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT | {"at_risk_lead_hours": 2})
    told.tick(streak, "2027-03-10T12:00")
    assert told.dues() == ["2027-03-11 22:00"]
    change(client, at_risk_lead_hours=5)
    told.sweep("2027-03-10T13:00")
    assert told.dues() == ["2027-03-11 19:00"]
    change(client, at_risk_lead_hours=None)
    told.sweep("2027-03-10T14:00")
    assert told.dues() == ["2027-03-11 00:00"]
    change(client, name="Other")
    assert told.rows("SELECT FROM streak_reviews") == []


def test_nothing_is_told_of_a_paused_definition_until_it_is_resumed(
    told: Notified, client: FlaskClient
) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    told.tick(streak, "2027-03-10T12:00")
    assert client.delete(f"{BASE}/streaks/daily").status_code == 200
    assert told.sweep("2027-03-11T01:00") == []
    assert told.dues() == ["infinity"]
    change(client, grace_periods=1)
    assert told.sweep("2027-03-11T02:00") == []
    change(client, is_active=True)
    assert told.sweep("2027-03-12T01:00") == [(AT_RISK, "daily")]


def test_states_of_before_are_watched_from_their_review_on(told: Notified) -> None:
    """As the migration leaves them: not watched, each definition to be reviewed."""
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    for day in (10, 12, 14):  # broken long ago, broken today, alive
        told.tick(streak, f"2027-03-{day}T12:00", f"user_{day}")
    with transaction(told.engine) as session:
        session.execute(sa.text("DELETE FROM streak_deadlines"))
        session.execute(sa.text("UPDATE streak_states SET is_watched = false WHERE is_watched"))
        deadline_reviews.ask(session, told.tenant_id, streak.id)
    assert told.sweep("2027-03-14T13:00") == []
    assert (told.watched(), told.dues()) == ([False, False, True], ["2027-03-15 00:00"])


def test_a_review_asked_for_again_begins_anew(told: Notified) -> None:
    streak = make_streak(told.engine, told.tenant_id, STRICT)
    with transaction(told.engine) as session:
        deadline_reviews.ask(session, told.tenant_id, streak.id)
        first = deadline_reviews.some(session)
        assert first is not None
        deadline_reviews.go_on(session, first, 7)
        seen = deadline_reviews.some(session)
        assert seen is not None and seen.position == 7
        deadline_reviews.go_on(session, first, None)
        assert deadline_reviews.some(session) == seen
        deadline_reviews.ask(session, told.tenant_id, streak.id)
        deadline_reviews.go_on(session, seen, None)
        again = deadline_reviews.some(session)
        assert again is not None and (again.position, again.version) == (0, 2)
