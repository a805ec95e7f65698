"""A merge is applied once, refused with a code, and safe beside what else happens."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from models.db import Engine, reading, transaction
from models.identity.aliases import _SURVIVORS
from models.people import erasure
from settings import Settings
from tests.calls import (
    client_of,
    count,
    make_streak,
    noon,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.integration.batches import PATIENCE_SECONDS, post, run_drain_until_death
from tests.integration.earning import (
    award_points,
    of_participant,
)
from tests.integration.mending import (
    GUEST,
    WHO,
    applied,
    merge,
    record_days,
    refused,
    streak_of,
)
from tests.integration.participants.test_participant_state import statements
from tests.integration.repair.test_exactly_once import entries_of
from tests.integration.workers.test_contention import is_waiting_for_a_lock
from tests.pipeline import Pipeline
from workers.apply import apply_batch
from workers.apply.batch import Configurations
from workers.apply.merges import MustBeAlone
from workers.intake.messages import MergeV1, TickV1, decode

# -- refused ---------------------------------------------------------------------------------


def test_into_itself_is_refused_at_once(two: FlaskClient) -> None:
    problem(merge(two, guest=WHO), 422, "validation_error", "from")


def test_a_circle_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    applied(two, pipeline, merge(two))
    assert refused(two, pipeline, merge(two, GUEST, WHO)) == "merge_in_circle"
    assert streak_of(two)["current_count"] == 5


def test_an_unknown_participant_is_refused_and_not_created(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    assert refused(two, pipeline, merge(two, guest="nobody")) == "participant_not_found"
    assert refused(two, pipeline, merge(two, "nobody", WHO)) == "participant_not_found"
    assert count(engine, "participants", account.live) == 2


def test_an_erased_participant_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    first, second = merge(two), merge(two, GUEST, WHO)
    assert two.delete(f"{BASE}/participants/{GUEST}").status_code == 200
    pipeline.drain()
    found = [two.get(one.get_json()["status_url"]).get_json()["code"] for one in (first, second)]
    assert found == ["participant_not_found", "participant_erased"]
    record_days(two, pipeline, 1, who=GUEST)
    assert streak_of(two)["current_count"] == 1


def test_one_that_is_suspended_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    body = {"external_id": GUEST, "status": "SUSPENDED"}
    assert post_json(two, "/v1/participants", body).status_code == 200
    assert refused(two, pipeline, merge(two)) == "participant_inactive"


def test_an_alias_of_another_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    record_days(two, pipeline, 0, who="third")
    applied(two, pipeline, merge(two))
    assert refused(two, pipeline, merge(two, "third", GUEST)) == "already_merged"


def test_an_alias_leads_to_the_survivor_however_long_the_chain(
    two: FlaskClient, pipeline: Pipeline
) -> None:
    record_days(two, pipeline, 5, who="third")
    applied(two, pipeline, merge(two, GUEST, "third"))
    applied(two, pipeline, merge(two))
    record_days(two, pipeline, 6, who="third")
    assert [streak_of(two, name)["current_count"] for name in (WHO, GUEST, "third")] == [7] * 3
    record_days(two, pipeline, 7, who="fourth")
    result = applied(two, pipeline, merge(two, "third", "fourth"))
    assert result["participant_id"] == WHO
    assert streak_of(two, "fourth")["current_count"] == 8


def test_it_needs_an_admin_key_and_known_fields(app: Flask, two: FlaskClient) -> None:
    problem(merge(two, into="x"), 422, "unknown_field", "into")
    problem(merge(two, guest=""), 422, "validation_error", "from")


def test_of_another_tenant_nothing_is_seen(
    app: Flask, account: Account, two: FlaskClient, pipeline: Pipeline
) -> None:
    other = client_of(app, account.keys["test"])
    make_streak(other)
    record_days(other, pipeline, 0, who=WHO)
    assert refused(other, pipeline, merge(other)) == "participant_not_found"
    applied(two, pipeline, merge(two))
    record_days(other, pipeline, 1, who=GUEST)
    assert [streak_of(other, who)["current_count"] for who in (WHO, GUEST)] == [1, 1]


# -- once ------------------------------------------------------------------------------------


def test_a_second_merge_changes_nothing(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    applied(two, pipeline, merge(two))
    before = count(engine, "facts", account.live)
    result = applied(two, pipeline, merge(two))
    assert (result["is_repeated"], result["streaks"]) == (True, [])
    assert count(engine, "facts", account.live) == before
    assert count(engine, "streak_changes", account.live) == 2


def test_a_merge_that_is_delivered_again_is_applied_once(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    award_points(two, 40, GUEST)
    pipeline.drain()
    merge(two)
    entries = entries_of(pipeline.client)
    for _ in range(3):
        post(pipeline.client, entries, account.live.id)
        pipeline.drain()
    assert of_participant(two, "points", WHO)["balance"] == 40
    assert count(engine, "streak_changes", account.live) == 1
    with reading(engine) as session:
        [audited] = session.execute(
            sa.text(
                "SELECT action, detail FROM audit_log"
                " WHERE tenant_id = :t AND action LIKE 'streak_change%'"
            ),
            {"t": account.live.id},
        )
    assert audited.action == "streak_change.merge"
    assert GUEST not in str(audited.detail)


@pytest.mark.parametrize(
    "failpoint", ["drain.after_read", "drain.mid_sql", "drain.after_commit_before_ack"]
)
def test_a_kill_neither_loses_nor_doubles_a_merge(
    failpoint: str, two: FlaskClient, pipeline: Pipeline, settings: Settings
) -> None:
    award_points(two, 40, GUEST)
    award_points(two, 2, WHO)
    pipeline.drain()
    accepted = merge(two).get_json()
    run_drain_until_death(settings, failpoint)
    record_days(two, pipeline, 5, who=GUEST)
    assert two.get(accepted["status_url"]).get_json()["status"] == "applied"
    assert of_participant(two, "points", WHO)["balance"] == 42
    assert streak_of(two)["current_count"] == 6


def test_an_idempotency_key_makes_one_merge(two: FlaskClient, pipeline: Pipeline) -> None:
    key = {"Idempotency-Key": "merge-1"}
    url = f"{BASE}/participants/{WHO}/merge"
    first, second = (post_json(two, url, {"from": GUEST}, key).get_json() for _ in range(2))
    assert first == second
    problem(post_json(two, url, {"from": "x"}, key), 409, "idempotency_conflict")
    pipeline.drain()
    assert two.get(first["status_url"]).get_json()["result"]["is_repeated"] is False


def test_a_batch_answers_each_item(two: FlaskClient, pipeline: Pipeline) -> None:
    record_days(two, pipeline, 5, who="third")
    items = [
        {"participant_id": WHO, "from": GUEST},
        {"participant_id": WHO, "from": WHO},
        {"participant_id": WHO, "from": "third", "reason": "Twice"},
        {"participant_id": WHO},
    ]
    answer = post_json(two, f"{BASE}/merges/batch", {"merges": items}).get_json()
    assert (answer["accepted"], answer["rejected"]) == (2, 2)
    assert [one["error"]["errors"][0]["field"] for one in answer["results"] if "error" in one] == [
        "from", "from",
    ]  # fmt: skip
    pipeline.drain()
    assert streak_of(two)["current_count"] == 6


def test_merges_that_follow_one_another_in_one_batch_each_see_the_one_before(
    two: FlaskClient, pipeline: Pipeline
) -> None:
    award_points(two, 40, "third")
    award_points(two, 2, GUEST)
    record_days(two, pipeline, 5, who="third")
    merges = [(GUEST, "third"), (WHO, GUEST), (WHO, "third"), (GUEST, WHO)]
    accepted = [merge(two, who, guest).get_json() for who, guest in merges]
    post_tick(two, "third", timestamp=noon(6))
    pipeline.drain()
    found = [two.get(one["status_url"]).get_json() for one in accepted]
    assert [one["status"] for one in found] == ["applied"] * 3 + ["rejected"]
    assert [one["result"]["is_repeated"] for one in found[:3]] == [False, False, True]
    assert of_participant(two, "points", WHO)["balance"] == 42
    assert streak_of(two)["current_count"] == 7


# -- facts -----------------------------------------------------------------------------------


def test_one_fact_tells_of_the_new_count_and_older_facts_are_the_survivors(
    two: FlaskClient, pipeline: Pipeline
) -> None:
    applied(two, pipeline, merge(two, reason="Signed up"))
    for name in (WHO, GUEST):
        found = two.get(f"{BASE}/facts?participant_id={name}").get_json()["items"]
        assert len(found) >= 6, "those of both"
        [told] = [one for one in found if one["type"] == "behavior.streak_repaired"]
        assert told["participant_id"] == WHO
        changed = {field: told["payload"][field] for field in ("count", "previous_count", "cause")}
        assert changed == {"count": 5, "previous_count": 1, "cause": "merge"}


def test_what_was_published_of_either_is_not_published_again(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE streak_states s SET told_at_risk = 20000, told_reminder = 20001,"
                " told_reminder_due_at = '2026-01-01T00:00:00Z'"
                " FROM participants p WHERE p.id = s.participant_id AND p.tenant_id = s.tenant_id"
                " AND s.tenant_id = :t AND p.external_id = :who"
            ),
            {"t": account.live.id, "who": GUEST},
        )
    applied(two, pipeline, merge(two))
    statement = """SELECT told_at_risk, told_reminder, told_reminder_due_at IS NOT NULL
        FROM streak_states WHERE tenant_id = :t"""
    with reading(engine) as session:
        [told] = session.execute(sa.text(statement), {"t": account.live.id}).all()
    assert tuple(told) == (20_000, 20_001, True)


# -- meanwhile -------------------------------------------------------------------------------


def test_ticks_for_both_meanwhile_wait_and_count(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    """A drain that holds both waits for nobody; a merge that waits for it sees its ticks."""
    merge(two)
    worker = threading.Thread(target=pipeline.drain)
    with transaction(engine) as session:
        session.execute(
            sa.text("SELECT FROM participants WHERE tenant_id = :t AND external_id = :who"
                    " FOR UPDATE"),
            {"t": account.live.id, "who": WHO},
        )  # fmt: skip
        worker.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    worker.join()
    assert streak_of(two)["current_count"] == 5


def test_an_erasure_of_either_id_erases_all_of_them(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    applied(two, pipeline, merge(two))
    late = post_tick(two, GUEST).get_json()
    assert two.delete(f"{BASE}/participants/{GUEST}").status_code == 200
    pipeline.drain()
    assert two.get(late["status_url"]).get_json()["code"] == "participant_erased"
    for table in ("participants", "ticks", "facts", "streak_states"):
        assert count(engine, table, account.live) == 0, table
    with reading(engine) as session:
        secret = account.live.tick_secret
        found = session.execute(
            sa.text("SELECT digest FROM erasures WHERE tenant_id = :t"), {"t": account.live.id}
        ).scalars()
        digests = set(map(bytes, found))
    assert digests == {erasure.digest(secret, name) for name in (WHO, GUEST)}


def test_the_personal_data_of_either_id_name_all(two: FlaskClient, pipeline: Pipeline) -> None:
    applied(two, pipeline, merge(two))
    for name in (WHO, GUEST):
        found = two.get(f"{BASE}/participants/{name}/export").get_json()
        assert (found["participant_id"], found["profile"]["aliases"]) == (WHO, [GUEST])


def test_tenants_without_aliases_cost_the_drain_no_statement(
    two: FlaskClient, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias is a column of the row that each batch locks anyway."""
    pipeline.drain()  # the first may also plan
    with statements(monkeypatch) as plain:
        record_days(two, pipeline, 5, who=WHO)
    assert [text for text in plain if "merged_into" in text], "the lock"
    assert not [text for text in plain if "JOIN participants s" in text or text == _SURVIVORS]
    applied(two, pipeline, merge(two))
    with statements(monkeypatch) as of_alias:
        record_days(two, pipeline, 6, who=GUEST)
    assert _SURVIVORS in of_alias


def test_it_shares_no_transaction_with_another_write(
    two: FlaskClient, pipeline: Pipeline, engine: Engine
) -> None:
    """What a tick of one of the two would decide on could be read before the merge moves it."""
    assert merge(two).status_code == 202
    post_tick(two, WHO, timestamp=noon(9))
    messages = [decode(entry) for entry in entries_of(pipeline.client)]
    assert [type(message) for message in messages] == [MergeV1, TickV1]
    with pytest.raises(MustBeAlone), transaction(engine) as connection:
        apply_batch.apply(connection, messages, Configurations())
    pipeline.drain()
    assert streak_of(two)["last_recorded_at"] is not None
    assert streak_of(two, GUEST) == streak_of(two)
