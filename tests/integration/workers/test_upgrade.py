"""Two releases side by side: entries that the other one wrote are applied, or wait for it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine, reading
from models.streaks.states import Streak
from settings import Settings
from tests.conftest import BASE, Account
from tests.integration.batches import ROOT, count, make_badge, post, tick
from tests.pipeline import Pipeline
from workers.intake import messages
from workers.intake.messages import decode, encode
from workers.intake.stream import depth

RECORDED: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "messages.json").read_text())
KINDS = sorted(RECORDED["messages"])
NEWER = ["a field of the next release", {"and": ["another", 1.5, None]}]


def recorded(kind: str) -> list[Any]:
    """An entry as the recorded release wrote it."""
    return list(RECORDED["messages"][kind]["entry"])


def shape(kind: str) -> tuple[list[str], int]:
    """The names of its fields, and how many of them must be there."""
    one = RECORDED["messages"][kind]
    return one["fields"], one["required"]


def shorter(kind: str) -> list[Any]:
    """An entry without what may be left out, as a release that did not know it wrote it."""
    return recorded(kind)[: 1 + shape(kind)[1]]


def longer(kind: str) -> list[Any]:
    """An entry as the next release writes it: with fields after all that this one knows."""
    ours = encode(decode(json.dumps(recorded(kind)).encode()))
    return json.loads(ours) + NEWER  # type: ignore[no-any-return]


def releases(kind: str) -> list[list[Any]]:
    """An entry as the recorded, an older and a newer release write it."""
    return [recorded(kind), shorter(kind), longer(kind)]


# -- as it is read -------------------------------------------------------------------------------


def test_every_kind_of_message_has_been_recorded() -> None:
    kinds = msgspec.inspect.type_info(messages.Message)
    assert isinstance(kinds, msgspec.inspect.UnionType)
    tags = [kind.tag for kind in kinds.types if isinstance(kind, msgspec.inspect.StructType)]
    assert sorted(str(tag) for tag in tags) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_added_at_the_end_and_with_a_default(kind: str) -> None:
    message = decode(json.dumps(recorded(kind)).encode())
    names, required = shape(kind)
    assert list(message.__struct_fields__[: len(names)]) == names
    defaults = len(type(message).__struct_defaults__)
    assert len(message.__struct_fields__) - defaults == required


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_entry_is_read_field_by_field(kind: str) -> None:
    message = decode(json.dumps(recorded(kind)).encode())
    names, _ = shape(kind)
    assert [getattr(message, name) for name in names] == recorded(kind)[1:]
    assert json.loads(encode(message))[: 1 + len(names)] == recorded(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_newer_release_adds_is_passed_over(kind: str) -> None:
    entry = recorded(kind)
    assert decode(json.dumps(longer(kind)).encode()) == decode(json.dumps(entry).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_older_release_did_not_write_has_its_default(kind: str) -> None:
    message = decode(json.dumps(shorter(kind)).encode())
    names, required = shape(kind)
    assert [getattr(message, name) for name in names[:required]] == recorded(kind)[1 : 1 + required]
    assert not any(getattr(message, name) for name in names[required:])


# -- as it is applied ----------------------------------------------------------------------------


def of_now(entry: list[Any], streak: Streak) -> tuple[bytes, str]:
    """A tick's entry for a streak that is there, and its id."""
    now = clock.now_us()
    tick_id = str(ids.uuid7(now))
    return json.dumps(
        [entry[0], streak.tenant_id, tick_id, entry[3], streak.id, now, *entry[6:]]
    ).encode(), tick_id


@pytest.mark.parametrize("entry", releases("tick.1"), ids=("recorded", "older", "newer"))
def test_a_tick_of_another_release_is_applied(
    entry: list[Any], engine: Engine, pipeline: Pipeline, streak: Streak, client: FlaskClient
) -> None:
    text, tick_id = of_now(entry, streak)
    post(pipeline.client, [text], streak.tenant_id)
    pipeline.drain()
    answer = client.get(f"{BASE}/ticks/{tick_id}").get_json()
    assert (answer["status"], answer["result"]["new_count"]) == ("applied", 1)
    assert count(engine, "dead_letters", streak.tenant_id) == 0


@pytest.mark.parametrize("entry", releases("award.1"), ids=("recorded", "older", "newer"))
def test_an_award_of_another_release_is_applied(
    entry: list[Any], engine: Engine, pipeline: Pipeline, account: Account, client: FlaskClient
) -> None:
    now, tenant_id = clock.now_us(), account.live.id
    award_id, badge_id = str(ids.uuid7(now)), make_badge(engine, tenant_id)
    text = json.dumps([entry[0], tenant_id, award_id, entry[3], badge_id, now, *entry[6:]])
    post(pipeline.client, [text.encode()], tenant_id)
    pipeline.drain()
    assert client.get(f"{BASE}/awards/{award_id}").get_json()["status"] == "applied"


def test_a_kind_that_only_a_newer_release_knows_waits_for_it_and_spoils_nothing(
    engine: Engine, settings: Settings, pipeline: Pipeline, streak: Streak
) -> None:
    """Older drains leave it pending, try by try; then it is a dead letter that a newer one replays.

    So a release with a new kind of write begins with the drains.
    """
    newer = b'["freeze.1",%d,"01a1fbf9-2c40-7b6a-9d3e-5f1c2a7e8b90","user_42"]' % streak.tenant_id
    post(pipeline.client, [tick(streak), newer, tick(streak, "user_43")], streak.tenant_id)
    drain = pipeline.make_drain()
    drain.streams.create_groups()
    drain._round(drain.streams.read(1_000))
    assert count(engine, "ticks", streak.tenant_id) == 2
    assert depth(pipeline.client) == 1, "it waits: a newer drain may take it over"
    pipeline.drain()
    with reading(engine) as session:
        letter = session.execute(_LETTER, {"text": newer.decode()}).one()
    assert (letter.tries, letter.is_whole) == (settings.entry_tries_max, True)


_LETTER = sa.text("""
SELECT tries, message = :text AS is_whole FROM dead_letters
WHERE message = :text ORDER BY created_at DESC LIMIT 1
""")
