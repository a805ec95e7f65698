"""`unbroken up` and `unbroken demo`: a full disk, a server that dies early, a closed terminal."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from api.cli.local.data_dir import Data
from api.cli.local.proc import is_alive, named, wait_until, writing_to
from tests.e2e.running import (
    PATIENCE_SECONDS,
    ROOT,
    UNBROKEN,
    Up,
    begin_up,
    environment,
    running_up,
    short_folder,
    unbroken,
)

DISK_BYTES = 400 * 1024 * 1024


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fresh folder."""
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A disk of its own, which a test may fill."""
    path.mkdir()
    options = f"size={DISK_BYTES},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024 * 1024))
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_a_full_disk_is_said_and_survived(folder: Path) -> None:
    with small_disk(folder / "disk"), running_up(folder / "disk" / "data") as up:
        before = up.pid("drain")
        fill(folder / "disk" / "ballast")
        os.kill(before, signal.SIGKILL)  # another one is started, and its pid file cannot be
        assert wait_until(lambda: "is full" in up.errors.read_text(), PATIENCE_SECONDS)
        assert wait_until(lambda: checks(up).get("disk") == "full", PATIENCE_SECONDS)
        assert wait_until(lambda: "drain was killed" in up.errors.read_text(), PATIENCE_SECONDS)
        time.sleep(1)  # it has tried by now
        assert up.process.poll() is None, up.errors.read_text()
        (folder / "disk" / "ballast").unlink()
        assert wait_until(lambda: "has room again" in up.errors.read_text(), PATIENCE_SECONDS)
        up.wait_ready()
        assert checks(up) == {"redis": "ok", "postgres": "ok", "disk": "ok"}


def checks(up: Up) -> dict[str, str]:
    """What /readyz says of each."""
    try:
        found: dict[str, str] = requests.get(f"{up.url}/readyz", timeout=5).json()["checks"]
    except requests.RequestException:
        return {}
    return found


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_server_that_dies_while_all_starts_is_started_again(folder: Path, server: str) -> None:
    up = begin_up(folder / "data")
    try:
        assert wait_until(lambda: up.pid(server) > 0, PATIENCE_SECONDS)
        os.kill(up.pid(server), signal.SIGKILL)
        assert up.process.stdout
        assert up.process.stdout.readline().startswith("ready http://"), up.errors.read_text()
        assert f"{server} was killed by SIGKILL; restarting" in up.errors.read_text()
    finally:
        up.stop()
        assert up.process.stdout
        up.process.stdout.close()


def working_for(folder: Data) -> list[int]:
    """Every process of a data folder."""
    found = {*writing_to(folder.logs.glob("*.log")), *named("postgres", folder.mark)}
    return [pid for pid in found if is_alive(pid)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_ended_ends_what_it_started(folder: Path, number: int) -> None:
    data = Data((folder / "data").resolve())
    demo = subprocess.Popen(
        [*UNBROKEN, "demo", "--port", "0", "--data", str(data.root)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: data.pid_file("redis").exists(), PATIENCE_SECONDS)
        demo.send_signal(number)
        demo.wait(PATIENCE_SECONDS)
    finally:
        demo.kill()
        demo.wait()
    assert wait_until(lambda: not working_for(data), PATIENCE_SECONDS)


@pytest.mark.parametrize("command", ["up", "listen"])
def test_a_port_that_is_taken_is_taken_by_a_process_with_a_name(folder: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = unbroken(command, "--port", port, "--data", str(folder / "data"))
    assert done.returncode != 0
    assert f"port {port} on 127.0.0.1 is taken by " in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
