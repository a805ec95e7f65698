"""The output of log lines: a sink never raises and never waits; it drops what it cannot write.

A file is written at once, so that it holds the last lines of a killed process. The reader of a
pipe, a socket or a terminal may not read: a separate thread waits for it, behind a bounded queue.
docs/decisions/0019-a-log-never-stops-a-request.md.
"""

from __future__ import annotations

import atexit
import io
import logging
import multiprocessing.util
import os
import stat
import threading
import time
from queue import Empty, SimpleQueue
from typing import TextIO

from workers.telemetry import metrics_store
from workers.telemetry.metrics import LOG_LINES_DROPPED

HELD_LINES_MAX = 10_000  # a few megabytes; a reader this far behind has stopped
CHUNK_LINES_MAX = 200  # in one write
FULL_PIPE_SECONDS = 0.01  # between two tries where another process made the descriptor non-blocking
EXIT_SECONDS = 1.0  # how long an ending process waits for a reader


class LineSink:
    """Takes whole lines for a stream; None where the process was started without one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._may_block = self._descriptor is not None and not _is_file(self._descriptor)
        self._is_torn = False  # the last write ended inside a line
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._writer_pid = 0  # threads do not survive a fork
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        """Write a line with its end, or drop it."""
        if not self._may_block:
            self._write([line])
        elif self._lines.qsize() < HELD_LINES_MAX:
            self._lines.put(line)
            if self._writer_pid != os.getpid():
                self._start_writer()
        else:
            metrics_store.add(LOG_LINES_DROPPED, 1, "slow")

    def flush(self) -> None:
        """Wait for the held lines, at most as long as a process may take to end."""
        if self._writer_pid == os.getpid():
            written = threading.Event()
            self._lines.put(written)
            written.wait(EXIT_SECONDS)

    def _start_writer(self) -> None:
        with self._lock:
            if self._writer_pid == os.getpid():
                return
            self._writer_pid = os.getpid()
            threading.Thread(target=self._write_on, name="log", daemon=True).start()
        # A forked process ends without `atexit`, another one without `multiprocessing`.
        atexit.register(self.flush)
        multiprocessing.util.Finalize(None, self.flush, exitpriority=0)

    def _write_on(self) -> None:
        while True:
            held = [self._lines.get()]
            while len(held) < CHUNK_LINES_MAX:
                try:
                    held.append(self._lines.get_nowait())
                except Empty:
                    break
            self._write([item for item in held if isinstance(item, str)])
            for item in held:
                if isinstance(item, threading.Event):
                    item.set()

    def _write(self, lines: list[str]) -> None:
        try:
            if self._descriptor is not None:
                text = "".join(lines)
                self._write_bytes(self._descriptor, text.encode("utf-8", "backslashreplace"))
            elif self._stream is not None:
                self._stream.writelines(lines)
            else:
                metrics_store.add(LOG_LINES_DROPPED, len(lines), "unwritable")
        except Exception:  # noqa: BLE001 - a full disk, no reader, a closed stream: none stops us
            metrics_store.add(LOG_LINES_DROPPED, len(lines), "unwritable")

    def _write_bytes(self, descriptor: int, left: bytes) -> None:
        if self._is_torn:
            left = b"\n" + left
        while left:
            try:
                done = os.write(descriptor, left)
            except BlockingIOError:  # only where a separate thread writes
                time.sleep(FULL_PIPE_SECONDS)
                continue
            self._is_torn = done < len(left)
            left = left[done:]


class SinkHandler(logging.Handler):
    """Records as lines of a sink; a record that cannot be formatted counts as a dropped line."""

    def __init__(self, sink: LineSink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or drop it."""
        try:
            self.sink.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - the caller has other work
            metrics_store.add(LOG_LINES_DROPPED, 1, "unwritable")

    def flush(self) -> None:
        """Nothing: the sink ends by itself, and `logging.shutdown` must not wait for it."""


def _descriptor_of(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (io.UnsupportedOperation, ValueError):
        return None


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True  # closed: each write fails at once
