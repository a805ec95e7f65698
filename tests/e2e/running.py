"""`unbroken` as a person starts it: a process, its ready line, its pid files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests
from click.testing import CliRunner

from api.cli.local.data_dir import Data
from api.cli.local.proc import is_alive, named, wait_until, writing_to
from api.cli.main import main

PATIENCE_SECONDS = 120.0  # ends a test that hangs; nothing is measured by it
ROOT = Path(__file__).resolve().parents[2]
UNBROKEN = [sys.executable, "-m", "api.cli"]
ROLES = ("postgres", "redis", "api", "drain", "webhooks", "upkeep", "beat", "metrics")


@dataclass
class Up:
    """A running `unbroken up`."""

    process: subprocess.Popen[str]
    data: Data
    url: str
    errors: Path

    def pid(self, role: str) -> int:
        """The pid in a role's file; 0 while there is none."""
        try:
            return int(self.data.pid_file(role).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def is_ready(self) -> bool:
        """Whether /readyz is green."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def wait_ready(self) -> None:
        """Wait for a green /readyz."""
        assert wait_until(self.is_ready, PATIENCE_SECONDS), self.errors.read_text()[-3_000:]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def left(self) -> list[int]:
        """Every process that works for this data folder."""
        logs = list(self.data.logs.glob("*.log"))
        found = {*writing_to(logs), *named("postgres", self.data.mark)}
        return [pid for pid in found if is_alive(pid)]


# Where a test reads what a tick did: on a busy machine a worker may need longer than callers wait.
PATIENT = {"UNBROKEN_WAIT_SECONDS": "10"}


def short_folder() -> Path:
    """A fresh folder of mode 0700 whose path leaves room for sockets."""
    return Path(tempfile.mkdtemp(prefix="ub-"))


def environment(**more: str) -> dict[str, str]:
    """The environment of the tests, without servers of one's own."""
    plain = {key: value for key, value in os.environ.items() if not key.endswith("_URL")}
    return plain | more


def begin_up(folder: Path, *arguments: str, **env: str) -> Up:
    """Start `unbroken up`, and wait for nothing; its URL is not known yet."""
    errors = folder.with_name(f"{folder.name}.err")
    with errors.open("w") as stream:
        process = subprocess.Popen(
            [*UNBROKEN, "up", "--data", str(folder), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            cwd=ROOT,
            env=environment(**env),
        )
    return Up(process, Data(folder.resolve()), "", errors)


def start_up(folder: Path, *arguments: str, **env: str) -> Up:
    """Start `unbroken up` and wait for its ready line."""
    up = begin_up(folder, *arguments, **env)
    assert up.process.stdout
    line = up.process.stdout.readline()
    assert line.startswith("ready http://"), up.errors.read_text()
    return replace(up, url=line.split()[1])


@contextmanager
def running_up(folder: Path, *arguments: str, **env: str) -> Iterator[Up]:
    """`unbroken up` for the length of a block."""
    up = start_up(folder, *arguments, **env)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()
        if up.process.stdout:
            up.process.stdout.close()


def unbroken(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a process."""
    return subprocess.run(
        [*UNBROKEN, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(**env),
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def invoke(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in this process: starting one takes a second of CPU time."""
    removed = dict.fromkeys(key for key in os.environ if key.endswith("_URL"))
    done = CliRunner().invoke(main, arguments, prog_name="unbroken", env={**removed, **env})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def unbroken_json(*arguments: str, **env: str) -> Any:
    """Run a command with --json in this process and return what it printed."""
    done = invoke(*arguments, "--json", **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
