"""Logs of every role: one line per record on stderr, JSON for programs or text for people."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from workers.telemetry.log_sink import LineSink, SinkHandler

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
REQUESTS = logging.getLogger("unbroken.requests")
_FIELDS = ("request_id", "write_id", "tick_id", "entry_id", "fact_id", "duration_ms", "tries")
_encoder = msgspec.json.Encoder()


@dataclass
class _Shown:
    """Which requests are logged, and how."""

    from_status: int = 1_000  # from this status on
    sink: LineSink | None = None  # as JSON, past `logging`; None: as other records are


_shown = _Shown()  # of the process, as the loggers and the stream that it describes are


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without its end."""
        line: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        line |= getattr(record, "request", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encoder.encode(line).decode()


class TextLines(logging.Formatter):
    """A record as a line for people; the fields of a request follow as `name=value`."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatTime(  # noqa: N802 - likewise
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """The instant in UTC."""
        return _time(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line before its traceback."""
        more = getattr(record, "request", {})
        return " ".join(
            [super().formatMessage(record), *(f"{name}={value}" for name, value in more.items())]
        )


def configure(wanted: str, stream: TextIO | None = None) -> None:
    """Log to stderr: all warnings, and of our own loggers also information.

    From now on no log call raises or waits: a line that cannot be written is counted.
    """
    stream = stream or sys.stderr
    sink = LineSink(stream)
    handler = SinkHandler(sink)
    is_json = wanted == "json" or (not wanted and not _is_terminal(stream))
    _shown.sink = sink if is_json else None
    handler.setFormatter(JsonLines() if is_json else TextLines())
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # not shown
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("unbroken").setLevel(logging.INFO)
    logging.captureWarnings(True)  # else they are printed, and printing may raise
    logging.raiseExceptions = False  # no library's own handler prints its error either
    for name in ("_granian", "granian.access"):  # the server has handlers of its own
        if logging.getLogger(name).handlers:
            logging.getLogger(name).handlers[:] = [handler]


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed


def show_requests(wanted: str) -> None:
    """Log all requests, the failed ones, or none."""
    _shown.from_status = {"all": 0, "errors": 400, "none": 1_000}[wanted]


def shows_request(status: int) -> bool:
    """Whether requests with this status are logged."""
    return status >= _shown.from_status


def request(line: Mapping[str, Any]) -> None:
    """Log a request. A record of `logging` costs four times as much as this line."""
    sink = _shown.sink
    if sink is None:
        REQUESTS.info("request", extra={"request": line})
    else:
        head = {"time": _time(time.time()), "level": "info", "logger": REQUESTS.name}
        sink.write(_encoder.encode({**head, "message": "request", **line}).decode() + "\n")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
