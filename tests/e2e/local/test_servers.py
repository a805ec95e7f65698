"""The embedded servers by themselves."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli.errors import CannotRun
from api.cli.local import postgres
from api.cli.local.data_dir import Data
from api.cli.local.embedded import Urls, embedded
from api.cli.local.proc import is_alive
from models import db
from tests.e2e.running import short_folder


@pytest.fixture
def folder() -> Iterator[Data]:
    """A data folder below one that only we may enter."""
    parent = short_folder()
    yield Data((parent / "d").resolve())
    shutil.rmtree(parent)


def run(urls: Urls, statement: str) -> list[str]:
    """The first column of what a statement returns."""
    engine = db.engine(urls.database_url, timeout_ms=5_000, pool=1)
    with db.reading(engine) as session:
        result = session.exec_driver_sql(statement)
        values = [str(row[0]) for row in result] if result.returns_rows else []
    engine.dispose()
    return values


def test_they_keep_their_data_and_their_addresses(folder: Data) -> None:
    with embedded(folder.root) as urls:
        assert urls == Urls(postgres.url(folder), f"unix://{folder.run}/redis.sock")
        run(urls, "CREATE TABLE kept (id integer)")
    with embedded(folder.root) as again:
        assert again == urls
        assert run(again, "SELECT count(*) FROM kept") == ["0"]


def test_a_committed_row_is_on_disk_and_nothing_listens_on_the_network(folder: Data) -> None:
    with embedded(folder.root) as urls:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert run(urls, f"SHOW {name}") == ["on"]
        assert run(urls, "SHOW listen_addresses") == [""]
        assert run(urls, "SHOW server_encoding") == ["UTF8"]


def test_a_cluster_that_was_half_made_is_made_again(folder: Data) -> None:
    half = folder.root / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with embedded(folder.root) as urls:
        assert run(urls, "SELECT 1") == ["1"]
    assert not half.exists()


def test_a_number_of_another_process_in_its_pid_file_does_not_matter(folder: Data) -> None:
    with embedded(folder.root):
        pass
    (folder.postgres / "postmaster.pid").write_text(f"{os.getpid()}\n")
    with embedded(folder.root) as urls:
        assert run(urls, "SELECT 1") == ["1"]


def test_the_pid_file_of_a_postgres_that_works_is_not_forgotten(folder: Data) -> None:
    with embedded(folder.root):
        with pytest.raises(CannotRun, match="a Postgres that is not ours"):
            postgres.forget_postmaster(folder)
        assert postgres.is_ready(folder)


def test_servers_that_a_killed_run_left_are_ended_before_the_next(folder: Data) -> None:
    with pytest.raises(KeyboardInterrupt), embedded(folder.root) as urls:
        left = int(folder.pid_file("postgres").read_text())
        run(urls, "CREATE TABLE kept (id integer)")
        os.kill(left, signal.SIGKILL)
        raise KeyboardInterrupt
    assert not is_alive(left)
    with embedded(folder.root) as urls:
        assert run(urls, "SELECT count(*) FROM kept") == ["0"]


def test_an_append_only_file_of_a_newer_redis_is_not_left_behind(folder: Data) -> None:
    newer = Path(folder.redis / "appendonlydir")
    newer.mkdir(parents=True)
    path = os.environ["PATH"]
    os.environ["PATH"] = "/nowhere"  # the wheel's Redis, 6.2
    try:
        with pytest.raises(CannotRun, match="written by Redis 7 or later"), embedded(folder.root):
            pass
    finally:
        os.environ["PATH"] = path
