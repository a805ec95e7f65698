"""The access log: each request is counted by route and outcome, and gets one log line.

Routes are templates and no label holds a caller's value, so callers cannot create series without
bound. A line names the key by its id, never a participant.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flask import Response, g

from api.http.request_context import this_request
from workers.intake.client import Message, connect
from workers.telemetry import logs, metrics_store
from workers.telemetry.heartbeats import Heartbeat, process_name
from workers.telemetry.metrics import ERRORS, REQUESTS
from workers.telemetry.metrics_store import TIMEOUT_SECONDS, Flusher

if TYPE_CHECKING:
    from api.http.problems import Problem

NO_ROUTE, OTHER = "none", "OTHER"
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
STATUSES = {nth: f"{nth}xx" for nth in range(1, 6)}


def begin(redis_url: str, log_format: str, log_requests: str) -> None:
    """Set up a serving process (not a test): logging, metrics, heartbeat."""
    logs.configure(log_format)
    logs.show_requests(log_requests)
    client = connect(redis_url, TIMEOUT_SECONDS)
    flusher, heartbeat = Flusher(client), Heartbeat(client, process_name())
    flusher.start()
    heartbeat.start(["api"])
    for stop in (flusher.stop, heartbeat.stop):
        # A forked process ends without `atexit`, others without `multiprocessing`.
        atexit.register(stop)
        multiprocessing.util.Finalize(None, stop, exitpriority=0)


def began() -> None:
    """Save the time at which a request began."""
    g.began = time.perf_counter()


def took_in(messages: Sequence[Message]) -> None:
    """Save the writes that this request brought in: its log line names them."""
    g.write_ids = [message.id for message in messages]


def ended(response: Response) -> None:
    """Count and log a request."""
    seconds = time.perf_counter() - g.began
    here, status = this_request(), response.status_code
    route = here.url_rule.rule if here.url_rule else NO_ROUTE
    method = here.method if here.method in METHODS else OTHER
    metrics_store.observe(REQUESTS, seconds, method, route, STATUSES.get(status // 100, OTHER))
    if logs.shows_request(status):
        logs.request(_line(method, route, status, seconds))


def refused(method: str, problem: Problem, request_id: str, began: float) -> None:
    """Count and log a request that the application never received; `began` is monotonic."""
    seconds, status = time.monotonic() - began, problem.status
    method = method if method in METHODS else OTHER
    metrics_store.add(ERRORS, 1, problem.code)
    metrics_store.observe(REQUESTS, seconds, method, NO_ROUTE, STATUSES[status // 100])
    if logs.shows_request(status):
        line = {"method": method, "route": NO_ROUTE, "status": status, "code": problem.code}
        logs.request(line | {"duration_ms": round(seconds * 1_000, 3), "request_id": request_id})


def _line(method: str, route: str, status: int, seconds: float) -> dict[str, Any]:
    line: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1_000, 3),
        "request_id": g.request_id,
    }
    caller = g.get("principal")
    if caller is not None:
        line |= {"tenant_id": caller.tenant.id, "key_id": str(caller.key.id)}
    code, writes = g.get("code"), g.get("write_ids")
    if code:
        line["code"] = code
    if writes:
        line |= {"write_id": writes[0], "writes": len(writes)}
    if writes and len(writes) > 1:  # all have the same time stamp; their ids lie between these two
        line["last_write_id"] = writes[-1]
    return line
