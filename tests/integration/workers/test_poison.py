"""What cannot be applied stands alone, is tried again, and ends as a dead letter."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import Engine, reading, transaction
from models.ledgers import dead_letters
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import (
    assert_applied_once,
    count,
    days,
    pending,
    post,
    replace_message,
    tick,
)
from tests.pipeline import Pipeline
from workers.intake.messages import TickV1
from workers.intake.stream import depth


def poisons(streak: Streak) -> dict[str, TickV1 | bytes]:
    """What no drain can apply, each for another reason."""
    plain = tick(streak)
    return {
        "not JSON": b"\xff\x00{",
        "empty": b"",
        "a version that we do not know": b'["tick.99",1]',
        "an unknown streak": replace_message(plain, streak_id=2**31 - 1),
        "a tenant that cannot be": replace_message(plain, tenant_id=2**40),
        "an id that is none": replace_message(plain, id="not-a-uuid"),
        "nobody": replace_message(plain, participant_id=""),
        "a name past the constraint": replace_message(plain, participant_id="x" * 256),
        "a name that no column holds": replace_message(plain, participant_id="a\x00b"),
        "a zone that is none": replace_message(plain, timezone="Mars/Phobos"),
        "an instant past all years": replace_message(plain, occurred_us=2**62),
    }


POISONS = list(poisons(Streak(1, 1, *[None] * 12)))  # type: ignore[arg-type]  # names alone


def try_once(pipeline: Pipeline, settings: Settings) -> None:
    """One look at what is pending and what is new."""
    drain = pipeline.make_drain()
    drain.streams.create_groups()
    drain._round(drain.streams.take_over(1_000))
    drain._round(drain.streams.read(1_000, block_ms=1))


def test_the_other_999_of_a_poisoned_batch_are_applied_at_once(
    engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    good = [message for nth in range(333) for message in days(streak, 3, f"user_{nth}")]
    bad = tick(streak, "x" * 256)
    post(pipeline.client, [*good[:700], bad, *good[700:]])
    try_once(pipeline, settings)
    assert_applied_once(engine, streak, good)
    assert (depth(pipeline.client), pending(pipeline.client)) == (1, 1)


@pytest.mark.parametrize("what", POISONS)
def test_poison_is_a_dead_letter_after_its_last_try_and_spoils_nothing(
    what: str, engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    good = days(streak, 4)
    poison = poisons(streak)[what]
    before = count(engine, "dead_letters", dead_letters.UNKNOWN_TENANT)
    post(pipeline.client, [*good[:2], poison, *good[2:]], streak.tenant_id)
    for tries in range(1, settings.entry_tries_max):
        try_once(pipeline, settings)
        assert depth(pipeline.client) == 1, tries
    assert_applied_once(engine, streak, good)
    try_once(pipeline, settings)
    assert (depth(pipeline.client), pending(pipeline.client)) == (0, 0)
    kept = count(engine, "dead_letters", dead_letters.UNKNOWN_TENANT) - before
    assert kept + count(engine, "dead_letters", streak.tenant_id) == 1


def test_new_ticks_are_applied_while_poison_is_being_tried(
    engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    post(pipeline.client, [b"poison"], streak.tenant_id)
    try_once(pipeline, settings)
    good = days(streak, 3)
    post(pipeline.client, good)
    try_once(pipeline, settings)
    assert_applied_once(engine, streak, good)
    assert depth(pipeline.client) == 1


def test_a_dead_letter_is_told_and_kept_whole(
    engine: Engine,
    settings: Settings,
    pipeline: Pipeline,
    client: FlaskClient,
    account: Account,
    streak: Streak,
) -> None:
    body = {"participant_id": "user_42", "streak_code": "daily", "metadata": {"a": "ü\\n"}}
    headers = {"Prefer": "respond-async"}
    posted = client.post("/api/v1/gamify/streaks/record", json=body, headers=headers).get_json()
    status_url = posted["status_url"]
    assert client.get(status_url).get_json()["status"] == "accepted"
    with transaction(engine) as session:  # a fault that only the database sees
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id, total_events)"
                " VALUES (:tenant_id, 'user_42', 9223372036854775807)"
            ),
            {"tenant_id": account.live.id},
        )
    for _ in range(settings.entry_tries_max):
        try_once(pipeline, settings)
    assert client.get(status_url).get_json() == {
        "tick_id": posted["tick_id"],
        "status": "dead",
        "result": None,
    }
    with reading(engine) as session:
        row = session.execute(
            sa.text("SELECT * FROM dead_letters WHERE tenant_id = :tenant_id"),
            {"tenant_id": account.live.id},
        ).one()
    assert (str(row.id), row.tries) == (posted["tick_id"], settings.entry_tries_max)
    assert "bigint out of range" in row.error
    assert posted["tick_id"] in row.message


def test_what_a_user_sent_is_not_in_the_log(
    settings: Settings, pipeline: Pipeline, streak: Streak, caplog: pytest.LogCaptureFixture
) -> None:
    post(pipeline.client, [tick(streak, "private" * 40)])
    try_once(pipeline, settings)
    assert "CheckViolation" in caplog.text
    assert "private" not in caplog.text


def test_a_fault_of_ours_buries_nothing_and_is_over_once_it_is_mended(
    engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    good = days(streak, 3)
    post(pipeline.client, good)
    with transaction(engine) as session:
        session.execute(sa.text("ALTER TABLE participants RENAME total_events TO not_deployed_yet"))
    try:
        for _ in range(settings.entry_tries_max + 2):
            try_once(pipeline, settings)
    finally:
        with transaction(engine) as session:
            session.execute(
                sa.text("ALTER TABLE participants RENAME not_deployed_yet TO total_events")
            )
    assert depth(pipeline.client) == len(good)
    assert count(engine, "dead_letters", streak.tenant_id) == 0
    try_once(pipeline, settings)
    assert depth(pipeline.client) == 0
    assert_applied_once(engine, streak, good)
