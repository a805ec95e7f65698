"""Roles of `unbroken up` are forks of it: they share its imports, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api.cli.local import data_dir
from api.cli.local.proc import is_alive, wait_until
from tests.e2e.running import ROOT, environment

# A supervisor that forks one role, `python -m MODULE …`, and prints how it ended.
SUPERVISOR = """
import json, os, signal, sys, time
from pathlib import Path
from api.cli.local import data_dir, forked
from api.cli.local.child_process import Role

folder = data_dir.prepare(Path(sys.argv[1]))
argv = [sys.executable, "-m", *sys.argv[2:]]
kept = open(folder.root / "lock", "w")
role = Role("role", argv, cwd=folder.root)
signal.signal(signal.SIGTERM, lambda *_: None)
child = forked.start(role, folder, {"ONLY": "this"})
known = int(folder.pid_file("role").read_text()) == child.pid
{more}
print(json.dumps({"code": child.wait(20), "again": child.poll(), "known": known}))
"""


RUN = ["timeit", "-n1", "-r1"]  # and the code


def forked(tmp_path: Path, *module: str, more: str = "") -> tuple[dict[str, Any], str]:
    """How a role ended, and its log."""
    script = SUPERVISOR.replace("{more}", more)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "d"), *module],
        cwd=ROOT, env=environment(MORE="that"), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "nothing but the supervisor writes to its output"
    return json.loads(lines[0]), data_dir.Data(tmp_path / "d").log("role").read_text()


@pytest.mark.parametrize(
    ("module", "ended", "said"),
    [
        ([*RUN, "pass"], 0, "1 loop"),
        (["json.tool", "--no-such-option"], 2, "usage:"),
        (["api.cli", "metrics", "--once"], 2, "Error: "),
        (["no_such_module"], 1, "No module named no_such_module"),
        ([*RUN, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"], -15, ""),
        ([*RUN, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], -9, ""),
    ],
)
def test_its_end_is_that_of_a_process(
    tmp_path: Path, module: list[str], ended: int, said: str
) -> None:
    told, log = forked(tmp_path, *module)
    assert told == {"code": ended, "again": ended, "known": True}
    assert said in log


def test_it_has_none_of_the_supervisors_files_environment_and_terminal(tmp_path: Path) -> None:
    code = (
        "import os; print(len(os.listdir('/proc/self/fd')), dict(os.environ),"
        " os.getsid(0) == os.getpid(), os.getcwd())"
    )
    _, log = forked(tmp_path, *RUN, code)
    files = 4  # the last: of the listing itself
    assert log.startswith(f"{files} {{'ONLY': 'this'}} True {tmp_path / 'd'}")


def test_its_exit_functions_run_and_its_threads_are_waited_for(tmp_path: Path) -> None:
    code = (
        "import atexit, threading, time; atexit.register(print, 'exit function');"
        "threading.Thread(target=lambda: (time.sleep(.2), print('thread'))).start()"
    )
    told, log = forked(tmp_path, *RUN, code)
    assert told["code"] == 0
    assert log.splitlines()[-2:] == ["thread", "exit function"]


def test_a_wait_for_it_ends_in_time_and_it_can_be_killed(tmp_path: Path) -> None:
    more = (
        "import subprocess\ntry: child.wait(0.05)\nexcept subprocess.TimeoutExpired: child.kill()"
    )
    told, _ = forked(tmp_path, *RUN, "import time; time.sleep(60)", more=more)
    assert told["code"] == -9


def test_it_dies_with_its_supervisor(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    more = (
        "log = folder.log('role')\n"
        "while not log.read_text().strip(): time.sleep(0.02)\n"
        "print(log.read_text().strip(), flush=True); os.kill(os.getpid(), 9)"
    )
    script = SUPERVISOR.replace("{more}", more)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "d"), *RUN, code],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -9
    assert wait_until(lambda: not is_alive(int(done.stdout)), 20)


def test_a_role_imports_nothing_of_ours_that_the_supervisor_has_not() -> None:
    code = (
        "import sys; from api.cli.local import forked; forked.share(); shared = set(sys.modules)\n"
        "import workers.app, workers.telemetry.metrics_store, api.http.access_log\n"
        "ours = ('api.', 'workers.', 'webhooks.', 'models.')\n"
        "print(sorted(name for name in set(sys.modules) - shared if name.startswith(ours)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT,
        env=environment(REDIS_URL="redis://127.0.0.1:1", DATABASE_URL="postgresql://x@127.0.0.1/x"),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['workers.app']"
