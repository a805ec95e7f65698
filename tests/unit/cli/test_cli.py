"""The command line's own decisions."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from api.cli import output
from api.cli.commands.keys import lifetime
from api.cli.errors import CannotRun
from api.cli.local import child_process, exec_child, process_specs
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data, prepare
from api.cli.local.proc import end, is_alive, wait_until, writing_to
from api.cli.local.supervisor import Supervisor, describe
from api.cli.ports import base_url, free_port
from api.cli.serve import server
from settings import Settings

PLAN = process_specs.ProcessPlan("127.0.0.1", 8000, drain_workers=2, webhook_workers=1)
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("30d", timedelta(days=30))],
)
def test_a_lifetime_is_minutes_hours_or_days(text: str, expected: timedelta) -> None:
    assert lifetime(text) == expected


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "1.5h", "1w", "3651d", "٣d", "9999999d"]
)
def test_other_lifetimes_are_refused(text: str) -> None:
    with pytest.raises(CannotRun, match="is not a lifetime"):
        lifetime(text)


def test_roles_start_with_who_is_needed_and_stop_the_other_way_round() -> None:
    planned = process_specs.ours(PLAN, Data(Path("/d")))
    names = [role.name for role in planned]
    assert names == ["drain", "drain-2", "webhooks", "upkeep", "beat", "api"]
    stages = [role.stage for role in planned]
    assert stages == sorted(stages)


def test_port_0_finds_a_free_port_and_a_taken_one_is_refused() -> None:
    assert free_port("127.0.0.1", 0) > 0
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(CannotRun, match="is taken"),
    ):
        free_port("127.0.0.1", taken.getsockname()[1])


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(CannotRun, match="cannot listen on"):
        free_port("192.0.2.1", 0)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert base_url("::1", 80) == "http://[::1]:80"
    assert base_url("127.0.0.1", 80) == "http://127.0.0.1:80"


def test_an_exit_code_is_said_in_words() -> None:
    assert describe(-9) == "was killed by SIGKILL"
    assert describe(3) == "ended with exit code 3"


def test_rows_are_json_or_a_table_that_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "x" * 120, "is_on": True, "scopes": ["a", "b"], "at": None}]
    output.show_rows(rows, ["id"], as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    output.show_rows(rows, rows[0], as_json=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "is", "on", "scopes", "at"],
        ["x" * 120, "yes", "a,", "b", "-"],
    ]


# -- children --------------------------------------------------------------------------------


def test_a_child_is_the_process_of_its_pid_file(tmp_path: Path) -> None:
    folder, role = prepare(tmp_path / "d"), Role("sleeper", SLEEP)
    child = child_process.start(role, folder, {})
    assert int(folder.pid_file("sleeper").read_text()) == child.pid
    assert wait_until(lambda: writing_to([folder.log("sleeper")]) == [child.pid], 10)
    child.send_signal(signal.SIGTERM)
    child_process.stop(role, folder, child)
    assert child.returncode == -signal.SIGTERM
    assert not folder.pid_file("sleeper").exists()


def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    folder = prepare(tmp_path / "d")
    role = Role("stubborn", [sys.executable, "-c", stubborn], stop_seconds=0.1)
    child = child_process.start(role, folder, {})
    assert wait_until(lambda: folder.log("stubborn").stat().st_size > 0, 10)
    child.send_signal(signal.SIGTERM)
    child_process.stop(role, folder, child)
    assert child.returncode == -signal.SIGKILL


def test_what_a_killed_child_left_behind_is_ended(tmp_path: Path) -> None:
    parent = f"import subprocess, time; subprocess.Popen({SLEEP!r}); time.sleep(60)"
    folder, log = prepare(tmp_path / "d"), tmp_path / "d" / "logs" / "parent.log"
    role = Role("parent", [sys.executable, "-c", parent])
    supervisor = Supervisor(folder, {})
    child = supervisor.add(role)
    assert wait_until(lambda: len(writing_to([log])) == 2, 10)
    first = writing_to([log])
    assert child.process
    child.process.kill()
    child.process.wait()
    supervisor.tend()
    assert not any(is_alive(pid) for pid in first)
    assert wait_until(lambda: is_running_again(supervisor), 10)
    supervisor.stop()
    assert writing_to([log]) == []


def is_running_again(supervisor: Supervisor) -> bool:
    """Whether the only child runs, after what is due was done."""
    supervisor.tend()
    return supervisor.members[0].is_running()


def test_a_child_dies_with_its_supervisor(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "d")
    script = (
        "import sys; from pathlib import Path; from api.cli.local import child_process, data_dir;"
        "folder = data_dir.prepare(Path(sys.argv[1]));"
        f"child_process.start(child_process.Role('sleeper', {SLEEP!r}), folder, {{}}); input()"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", script, folder.root], stdin=subprocess.PIPE
    )
    log = folder.log("sleeper")
    # Once it has become the sleeper, it has also asked the kernel.
    assert wait_until(lambda: any(map(is_sleeper, writing_to([log]))), 20)
    supervisor.kill()
    supervisor.communicate()
    assert wait_until(lambda: writing_to([log]) == [], 10)


def is_sleeper(pid: int) -> bool:
    """Whether a launched process has become what it was to be."""
    return b"exec_child.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_launch_refuses_a_parent_that_is_gone() -> None:
    gone = exec_child.Launch(argv=["/bin/echo", "alive"], parent=1, death_signal=signal.SIGTERM)
    done = subprocess.run(exec_child.command(gone), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_ending_nothing_is_no_work() -> None:
    end(list, signal.SIGTERM, 0.0)


@pytest.mark.parametrize(("settings", "kept_ms"), [
    (Settings(), 75_000), (Settings(keep_alive_seconds=400), 400_000),
])  # fmt: skip
def test_the_api_keeps_an_idle_connection_for_longer_than_a_balancer_does(
    settings: Settings, kept_ms: int
) -> None:
    served = server(settings, "127.0.0.1", 8000, 2).http1_settings
    assert served and served.header_read_timeout == kept_ms
