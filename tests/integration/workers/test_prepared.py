"""Reads at the moment at which Postgres goes: whatever is raised says that it is away."""

from __future__ import annotations

import pytest

from models.db import DatabaseUnavailable, reading, run
from models.db import engine as make_engine
from models.db.prepared import Prepared, read
from settings import Settings
from tests.links import Link, target_of, through


def test_it_says_so_when_nobody_takes_a_new_connection() -> None:
    engine = make_engine("postgresql://nobody@127.0.0.1:1/nothing", timeout_ms=1_000)
    statement = Prepared("nothing", "int", "SELECT $1")
    with pytest.raises(DatabaseUnavailable, match="refused"):
        read(engine, statement, [1], lambda known: "")
    engine.dispose()


def test_it_says_so_when_a_connection_is_given_back_that_has_ended(settings: Settings) -> None:
    with Link(target_of(settings.database_url, 5432)) as link:
        engine = make_engine(through(link, settings.database_url), timeout_ms=1_000)

        def read_and_lose() -> None:
            for is_last in (False, True):  # only one used before says something when it is done
                with reading(engine) as session:
                    run(session, "SELECT 1", {})
                    if is_last:
                        link.cut()

        with pytest.raises(DatabaseUnavailable, match="connection"):
            read_and_lose()
        engine.dispose()
