"""The actions on a participant's page: shown before they are done, and done with a reason."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from api.dashboard.participant_actions import ACTIONS, OF_STREAK
from tests.calls import make_badge, make_streak
from tests.conftest import BASE
from tests.integration.browsing import Person
from tests.integration.mending import WHO, day, history_of, of, record_days, streak_of
from tests.pipeline import Pipeline

DO = f"/participants/{WHO}/do"
STREAK = "daily_login"


def points(client: FlaskClient) -> int:
    return int(client.get(f"{BASE}/participants/{WHO}/points").get_json()["balance"])


def test_the_page_leads_to_every_action(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 3, 0)
    page = unescape(admin.get(f"/participants/{WHO}").text)
    for name, action in ACTIONS.items():
        if name == "activate":  # of a suspended participant
            continue
        query = f"?streak={STREAK}" if name in OF_STREAK else ""
        assert f'href="/dashboard{DO}/{name}{query}"' in page
        assert action.title in page
        assert admin.get(f"{DO}/{name}{query}").status_code == 200
    assert admin.get(f"{DO}/nope").status_code == 404


def test_a_restore_is_shown_then_done_with_its_reason(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 5, 4, 1, 0)
    shown = unescape(admin.get(f"{DO}/restore?streak={STREAK}").text)
    assert f"Periods: {day(3)}, {day(2)}." in shown
    assert '<td class="right num">2</td><td class="right num"><strong>4</strong></td>' in shown
    assert "behavior.streak_repaired" in shown
    without = admin.post(f"{DO}/restore", streak=STREAK, step="do", reason=" ")
    pipeline.drain()
    assert (without.status_code, "Must be given." in without.text) == (422, True)
    assert streak_of(client)["current_count"] == 2
    done = admin.post(f"{DO}/restore", streak=STREAK, step="do", reason="Our outage")
    assert "Accepted" in admin.follow(done)
    pipeline.drain()
    assert streak_of(client)["current_count"] == 4
    again = admin.get(f"{DO}/restore?streak={STREAK}")
    assert again.status_code == 409
    assert 'class="wrong" role="alert"' in again.text


@pytest.mark.parametrize(
    ("name", "fields", "count"),
    [
        ("add", {"period": day(1), "as": "recorded"}, 4),
        ("retract", {"period": day(0)}, 0),
        ("pause", {"from": day(1), "to": day(1)}, 3),
    ],
)
def test_a_change_happens_only_once_it_was_shown(
    admin: Person,
    client: FlaskClient,
    pipeline: Pipeline,
    name: str,
    fields: dict[str, str],
    count: int,
) -> None:
    make_streak(client)
    record_days(client, pipeline, 3, 2, 0)
    given = fields | {"streak": STREAK}
    shown = admin.post(f"{DO}/{name}", step="preview", **given)
    assert shown.status_code == 200, shown.text
    assert f"<strong>{count}</strong>" in shown.text
    pipeline.drain()
    assert streak_of(client)["current_count"] == 1
    admin.follow(admin.post(f"{DO}/{name}", step="do", reason="Asked for", **given))
    pipeline.drain()
    assert streak_of(client)["current_count"] == count
    log = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    assert log[0]["action"].startswith("streak_change.")


def test_freezes_and_points_are_given(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, freezes={"max": 2})
    record_days(client, pipeline, 0)
    freeze = {"streak": STREAK, "amount": "2", "reason": "Sorry"}
    assert "2 freezes given" in admin.post(f"{DO}/freeze", step="preview", **freeze).text
    admin.follow(admin.post(f"{DO}/freeze", step="do", **freeze))
    award = {"amount": "70", "reason": "Sorry"}
    assert "70 points are added" in admin.post(f"{DO}/points", step="preview", **award).text
    pipeline.drain()
    assert points(client) == 0
    admin.follow(admin.post(f"{DO}/points", step="do", **award))
    pipeline.drain()
    assert streak_of(client)["freezes_remaining"] == 2
    assert points(client) == 70


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("add", {"period": "yesterday", "as": "recorded"}),
        ("add", {"period": "", "as": "recorded"}),
        ("retract", {"period": "2026-W99"}),
        ("pause", {"from": "soon", "to": "later"}),
        ("freeze", {"amount": "many"}),
        ("points", {"amount": " "}),
        ("badge", {"badge_code": ""}),
    ],
)
def test_a_wrong_field_is_named_and_kept(
    admin: Person, client: FlaskClient, pipeline: Pipeline, name: str, fields: dict[str, str]
) -> None:
    make_streak(client, freezes={"max": 2})
    record_days(client, pipeline, 1, 0)
    before = history_of(client)
    for step in ("preview", "do"):
        answered = admin.post(f"{DO}/{name}", step=step, streak=STREAK, reason="R", **fields)
        assert answered.status_code == 422, answered.text
        page = unescape(answered.text)
        assert 'class="field has-error"' in page
        assert all(f'value="{value}"' in page for value in fields.values() if value)
    pipeline.drain()
    assert history_of(client) == before


def test_an_action_of_an_unknown_streak_is_refused_in_words(
    admin: Person, client: FlaskClient
) -> None:
    answered = admin.get(f"{DO}/restore?streak=nope")
    assert (answered.status_code, "nope" in answered.text) == (404, True)
    assert client.get(of()).status_code in (404, 405)


def test_a_confirmation_that_is_sent_again_awards_once(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 0)
    award = {"amount": "70", "reason": "Sorry"}
    shown = admin.post(f"{DO}/points", step="preview", **award).text
    [once] = re.findall(r'name="once" value="([^"]+)"', shown)
    for _ in range(2):
        admin.follow(admin.post(f"{DO}/points", step="do", once=once, **award))
    pipeline.drain()
    assert points(client) == 70


def test_a_participant_is_suspended_and_activated_with_a_reason(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 0)
    for name, is_active in (("suspend", False), ("activate", True)):
        assert "What will happen" in admin.get(f"{DO}/{name}").text
        admin.follow(admin.post(f"{DO}/{name}", step="do", reason="A check"))
        profile = client.get(f"{BASE}/participants/{WHO}").get_json()
        assert profile["is_active"] is is_active
        [entry, *_] = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
        assert entry["detail"]["reason"] == "A check"
        page = unescape(admin.get(f"/participants/{WHO}").text)
        assert (f"{DO}/suspend" in page, f"{DO}/activate" in page) == (is_active, not is_active)


def test_a_participant_is_erased_with_a_reason(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    record_days(client, pipeline, 0)
    assert "for good" in admin.get(f"{DO}/erase").text
    assert client.get(f"{BASE}/participants/{WHO}").status_code == 200
    assert "Erased" in admin.follow(admin.post(f"{DO}/erase", step="do", reason="Asked for"))
    assert client.get(f"{BASE}/participants/{WHO}").status_code == 404
    [entry, *_] = client.get(f"{BASE}/admin/audit-log").get_json()["items"]
    assert (entry["action"], entry["detail"]["reason"]) == ("participant.erased", "Asked for")


def test_a_badge_is_awarded_with_a_reason(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_badge(client)
    badge = {"badge_code": "power_user", "reason": "Well done"}
    assert "power_user" in admin.post(f"{DO}/badge", step="preview", **badge).text
    admin.post(f"{DO}/badge", step="do", **badge)
    pipeline.drain()
    [earned] = client.get(f"{BASE}/participants/{WHO}").get_json()["badges"]
    assert earned["code"] == "power_user"
    unknown = admin.post(f"{DO}/badge", step="do", badge_code="nope", reason="Well done")
    assert (unknown.status_code, "nope" in unknown.text) == (404, True)


def test_a_retraction_takes_prizes_back_where_it_is_asked_for(
    admin: Person, client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, milestones=[{"count": 2, "points": 40}])
    record_days(client, pipeline, 1, 0)
    given = {"streak": STREAK, "period": day(0), "revoke": "yes", "reason": "A mistake"}
    shown = unescape(admin.post(f"{DO}/retract", step="preview", **given).text)
    assert "Taken back, the milestone of 2: 40 points." in shown
    assert points(client) == 40
    admin.follow(admin.post(f"{DO}/retract", step="do", **given))
    pipeline.drain()
    assert points(client) == 0
