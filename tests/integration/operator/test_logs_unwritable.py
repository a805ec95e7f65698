"""A log that cannot be written, or that nobody reads: requests go on, and its lines are counted."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest
import requests
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from models.db import Engine
from models.streaks.states import Streak
from settings import Settings
from tests.calls import post_tick
from tests.conftest import BASE, Account
from tests.integration.batches import count
from tests.integration.serving import serving
from tests.pipeline import Pipeline
from workers.telemetry import log_sink, logs, metrics_store
from workers.telemetry.metrics import LOG_LINES_DROPPED

REQUESTS = 20
Open = Callable[[ExitStack, Path], TextIO]


@pytest.fixture
def restored() -> Iterator[None]:
    """Afterwards logging is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("unbroken")
    before = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    yield
    logs.show_requests("none")
    logging.captureWarnings(False)
    root.handlers[:], logging.raiseExceptions = before[0], before[3]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def full_device(stack: ExitStack, folder: Path) -> TextIO:
    """A device that has no room."""
    return Path("/dev/full").open("w", buffering=1)


def full_disk(stack: ExitStack, folder: Path) -> TextIO:
    """A file on a disk without room."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs a mount")
    stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
    (folder / "filling").write_bytes(b"x" * 4_096)
    return (folder / "log").open("a", buffering=1)


def reader_gone(stack: ExitStack, folder: Path) -> TextIO:
    """A pipe whose reader has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", buffering=1)


def reader_stopped(stack: ExitStack, folder: Path) -> TextIO:
    """A pipe that is full, and whose reader does not read."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4_096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    return os.fdopen(writing, "w", buffering=1)


def closed(stack: ExitStack, folder: Path) -> TextIO:
    """A stream that was closed."""
    stream = (folder / "log").open("w")
    stream.close()
    return stream


@contextmanager
def logging_to(open_stream: Open, folder: Path, wanted: str) -> Iterator[None]:
    """Log every request to a stream."""
    with ExitStack() as stack:
        stream = open_stream(stack, folder)
        logs.configure(wanted, stream)
        logs.show_requests("all")
        yield
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, log_sink.SinkHandler)
    handler.sink.flush()  # the reader has ended by now: nobody writes to the stream any more
    with suppress(OSError):
        stream.close()


def dropped() -> int:
    """Lines that this process has counted since its last flush."""
    counts = metrics_store.BUFFER._counts
    return sum(count for (name, _), count in counts.items() if name == LOG_LINES_DROPPED.name)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("wanted", ["json", "text"])
@pytest.mark.parametrize(
    "open_stream", [full_device, full_disk, reader_gone, reader_stopped, closed]
)
def test_every_request_is_answered_as_ever_and_the_lines_that_are_lost_are_counted(
    open_stream: Open,
    wanted: str,
    client: FlaskClient,
    streak: Streak,
    pipeline: Pipeline,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_sink, "HELD_LINES_MAX", 2)
    before = dropped()
    with logging_to(open_stream, tmp_path, wanted):
        for nth in range(REQUESTS):
            answered = post_tick(client, f"ann-{nth}", streak_code=streak.code)
            assert answered.status_code == 202
            assert client.get("/livez").status_code == 200
        logging.getLogger("unbroken.api").warning("%d", "not a number")
        assert wait_until(lambda: dropped() >= before + REQUESTS, 5)
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == REQUESTS


@pytest.mark.usefixtures("restored")
def test_a_process_that_was_started_without_stderr_logs_nothing_and_goes_on(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    before = dropped()
    logs.configure("")
    logs.show_requests("all")
    assert client.get("/livez").status_code == 200
    assert dropped() == before + 1


@pytest.mark.usefixtures("restored")
def test_what_a_slow_reader_has_not_read_is_written_once_it_reads() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading) as reader:
        logs.configure("json", stream)
        for nth in range(1_000):
            logging.getLogger("unbroken.api").info("line %d", nth)
        found = [next(reader) for _ in range(1_000)]
    assert [f'"line {nth}"' in line for nth, line in enumerate(found)] == [True] * 1_000


@pytest.mark.usefixtures("restored")
def test_the_next_line_begins_anew_where_a_full_disk_took_half_of_one(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stream = full_disk(stack, tmp_path)
        (tmp_path / "filling").write_bytes(b"")
        sink = log_sink.LineSink(stream)
        sink.write("x" * 5_000 + "\n")
        stream.truncate(100)
        sink.write("whole\n")
        assert (tmp_path / "log").read_text().splitlines()[-1] == "whole"
        stream.close()


def test_an_api_process_whose_log_disk_is_full_answers_and_the_metrics_say_so(
    settings: Settings, account: Account, streak: Streak, pipeline: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "api.log").symlink_to("/dev/full")
    body = {"participant_id": "ann", "streak_code": streak.code}
    headers = {"X-API-Key": account.keys["live"], "Prefer": "respond-async"}
    with serving(settings, tmp_path) as served:
        for _ in range(REQUESTS):
            url = f"{served.url}{BASE}/streaks/record"
            assert requests.post(url, json=body, headers=headers, timeout=30).status_code == 202
        assert wait_until(lambda: counted(pipeline) >= REQUESTS, 10)


def counted(pipeline: Pipeline) -> int:
    """Lines that any process has dropped."""
    return sum(metrics_store.read(pipeline.client).get(LOG_LINES_DROPPED.name, {}).values())
