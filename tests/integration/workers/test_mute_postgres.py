"""A Postgres that takes connections and says nothing: nobody waits for it longer than agreed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from models import db
from models.db import (
    CommitUnknown,
    DatabaseError,
    DatabaseUnavailable,
    Engine,
    reading,
    transaction,
)
from settings import Settings
from tests.links import Link, target_of, through

ANSWER = sa.text("SELECT 1")


@pytest.fixture
def link(settings: Settings) -> Iterator[Link]:
    """The link to Postgres."""
    with Link(target_of(settings.database_url, 5432)) as link:
        yield link


@pytest.fixture
def engine_of(settings: Settings, link: Link) -> Iterator[Callable[[float], Engine]]:
    """Engines that go through the link, with a statement's limit in seconds."""
    made: list[Engine] = []

    def make(seconds: float) -> Engine:
        url = through(link, settings.database_url)
        made.append(db.engine(url, timeout_ms=int(seconds * 1_000)))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def ask(engine: Engine) -> int:
    """What Postgres answers."""
    with reading(engine) as session:
        return int(session.execute(ANSWER).scalar_one())


def assert_away(engine: Engine) -> None:
    """Postgres counts as away, and the connection is not used again."""
    with pytest.raises(DatabaseUnavailable):
        ask(engine)


def test_a_statement_is_ended_and_the_next_are_refused_at_once(
    link: Link, engine_of: Callable[[float], Engine]
) -> None:
    engine = engine_of(0.2)
    assert ask(engine) == 1
    link.stall()
    for _ in range(3):
        assert_away(engine)
    assert link.connections == 1, "but for one that tries they did not get as far as the link"
    link.heal()
    assert answers_again(engine)


def answers_again(engine: Engine) -> bool:
    """Wait until Postgres is asked again, by nobody's help but ours."""
    is_over = threading.Event()
    for _ in range(100):
        try:
            return ask(engine) == 1
        except DatabaseUnavailable:
            is_over.wait(0.05)
    return False


def test_a_commit_that_is_not_answered_is_ended(
    link: Link, engine_of: Callable[[float], Engine]
) -> None:
    engine = engine_of(0.2)
    with pytest.raises(CommitUnknown) as caught, transaction(engine) as session:
        session.execute(ANSWER)
        link.stall()
    assert isinstance(caught.value, DatabaseUnavailable)
    link.heal()
    assert answers_again(engine)


def test_idle_connections_that_have_ended_are_replaced(
    link: Link, engine_of: Callable[[float], Engine]
) -> None:
    engine = engine_of(0.2)
    with reading(engine) as one, reading(engine) as another:
        assert [each.execute(ANSWER).scalar_one() for each in (one, another)] == [1, 1]
    link.cut()
    link.heal()
    assert ask(engine) == 1, "nobody has to find out that they have ended"
    link.stall()
    assert_away(engine)
    link.cut()
    link.heal()
    assert answers_again(engine)


def test_who_finds_it_mute_spares_the_others_the_wait(
    link: Link, engine_of: Callable[[float], Engine]
) -> None:
    quick, slow = engine_of(0.1), engine_of(60)
    assert [ask(quick), ask(slow)] == [1, 1]
    link.stall()
    for engine in (quick, slow):
        assert_away(engine)
    link.heal()
    assert answers_again(slow)
    assert ask(quick) == 1


def test_a_slow_statement_is_no_mute_server(engine_of: Callable[[float], Engine]) -> None:
    """The server ends it first, and the watch ends what may take longer no sooner."""
    engine = engine_of(0.2)
    with pytest.raises(DatabaseError) as caught, reading(engine) as session:
        session.execute(sa.text("SELECT pg_sleep(5)"))
    assert not isinstance(caught.value, DatabaseUnavailable)
    assert ask(engine) == 1
    with transaction(engine) as session:
        db.take_longer(session, 30)
        session.execute(sa.text("SELECT pg_sleep(1.6)"))
        db.take_longer(session, 0)
        session.execute(sa.text("SELECT pg_sleep(0.1)"))
    with transaction(engine) as session, pytest.raises(DatabaseError):
        session.execute(sa.text("SELECT pg_sleep(5)"))
