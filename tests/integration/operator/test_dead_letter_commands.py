"""`unbroken dead-letters`: what the operator sees, replays and gives up."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from api.cli.main import main
from models.db import Engine
from models.ledgers.dead_letters import UNKNOWN_TENANT
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import Account
from tests.integration.batches import count, post, replace_message, tick
from tests.integration.letters import acts, fail_every_try, keep
from tests.pipeline import Pipeline
from workers.intake.messages import encode


def command(settings: Settings, *arguments: str, answer: str | None = None) -> Any:
    """Run a command on the test servers."""
    env = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    return CliRunner().invoke(main, ["dead-letters", *arguments], env=env, input=answer)


def as_json(settings: Settings, *arguments: str) -> Any:
    done = command(settings, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_operator_lists_shows_and_replays_them(
    engine: Engine, streak: Streak, account: Account, settings: Settings, pipeline: Pipeline
) -> None:
    letter = keep(engine, streak, "ann\u202e", error="CheckViolation: first\nsecond")
    which = ("--tenant", account.slug)
    listed = as_json(settings, "list", *which)
    assert [(one["id"], one["mode"], one["tries"]) for one in listed] == [
        (str(letter.id), "live", 5)
    ]
    assert as_json(settings, "list", *which, "--mode", "test") == []
    table = command(settings, "list", *which).stdout
    assert "CheckViolation: first" in table
    assert "second" not in table
    assert as_json(settings, "show", str(letter.id))["message"] == letter.message
    shown = command(settings, "show", str(letter.id)).stdout
    assert "\u202e" not in shown, "it must not turn the line round"
    assert as_json(settings, "replay", str(letter.id)) == {"replayed": 1}
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == 1
    assert as_json(settings, "list", *which, "--status", "replayed")[0]["settled_at"]
    assert acts(engine, streak.tenant_id) == [("dead_letter.replayed", str(letter.id))]
    refused = command(settings, "discard", str(letter.id), "--yes")
    assert refused.exit_code == 2
    assert "was replayed" in refused.stderr


def test_the_operator_is_asked_before_something_is_given_up(
    engine: Engine, streak: Streak, account: Account, settings: Settings
) -> None:
    some = [keep(engine, streak) for _ in range(3)]
    which = ("--all", "--tenant", account.slug)
    asked = command(settings, "discard", *which, answer="n\n")
    assert asked.exit_code == 1
    assert "3 dead letters" in asked.stderr
    assert len(as_json(settings, "list", "--tenant", account.slug)) == len(some)
    assert as_json(settings, "discard", *which, "--yes") == {"discarded": 3}
    assert as_json(settings, "replay", *which) == {"replayed": 0}
    assert len(acts(engine, streak.tenant_id)) == len(some)


def test_a_message_that_names_nobody_is_the_operators(
    engine: Engine, streak: Streak, settings: Settings, pipeline: Pipeline
) -> None:
    """Replayed and dead again it is the same letter; one that is no message is not replayed."""
    before = {one["id"] for one in as_json(settings, "list", "--limit", "10000")}
    fails = replace_message(tick(streak), tenant_id=2**40)
    post(pipeline.client, [fails, b"\xff no message"], streak.tenant_id)
    fail_every_try(pipeline, settings)
    listed = as_json(settings, "list", "--limit", "10000")
    fresh = [one["id"] for one in listed if one["id"] not in before]
    made = {as_json(settings, "show", one)["message"]: one for one in fresh}
    assert len(made) == 2
    letter_id = made[encode(fails).decode()]
    assert as_json(settings, "replay", letter_id) == {"replayed": 1}
    fail_every_try(pipeline, settings)
    again = as_json(settings, "show", letter_id)
    assert (again["status"], again["tries"], again["tenant"]) == ("dead", 10, None)
    broken = command(settings, "replay", made["\\xff no message"])
    assert (broken.exit_code, "cannot read it" in broken.stderr) == (2, True)
    assert as_json(settings, "discard", *made.values(), "--yes") == {"discarded": 2}
    assert {target for _, target in acts(engine, UNKNOWN_TENANT)} >= set(made.values())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["replay"], 2, "give the ids of dead letters, or --all"),
        (["replay", str(UUID(int=7)), "--all"], 2, "give the ids of dead letters"),
        (["discard", str(UUID(int=7)), "--tenant", "x"], 2, "choose among --all"),
        (["show", str(UUID(int=7))], 1, f"Dead letter '{UUID(int=7)}' not found"),
        (["replay", str(UUID(int=7))], 1, f"Dead letter '{UUID(int=7)}' not found"),
        (["list", "--tenant", "nobody-there"], 1, "Tenant 'nobody-there' not found"),
        (["list", "--mode", "live"], 2, "--mode needs --tenant"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], code: int, sentence: str, engine: Engine, settings: Settings
) -> None:
    done = command(settings, *arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert sentence in done.stderr
