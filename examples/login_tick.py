"""Record a tick at every login, without delaying or breaking the login.

UNBROKEN_URL=http://127.0.0.1:8000 UNBROKEN_KEY=bq_live_… python examples/login_tick.py user_42
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from datetime import UTC, datetime

import requests

URL = os.environ.get("UNBROKEN_URL", "http://127.0.0.1:8000") + "/api/v1/gamify"
HEADERS = {
    "X-API-Key": os.environ.get("UNBROKEN_KEY", ""),
    "Prefer": "respond-async",  # do not wait for the count
}
TIMEOUT_SECONDS = 3
WAITING_MAX = 10_000  # ticks that may wait while the service is slow; further ones are dropped
LEAVING_SECONDS = 5  # how long an exiting process waits for its last ticks

log = logging.getLogger("streaks")
waiting: queue.Queue[dict[str, str]] = queue.Queue(WAITING_MAX)


def on_login_success(user_id: str) -> None:
    """Call this after a successful login. It returns at once and never raises."""
    # The instant of the login, so that a tick sent after midnight counts for the right day.
    at = datetime.now(UTC).isoformat()
    tick = {"participant_id": user_id, "streak_code": "daily_login", "timestamp": at}
    try:
        waiting.put_nowait(tick)
    except queue.Full:
        log.warning("streak tick of %s dropped: %d are waiting", user_id, WAITING_MAX)


def send_ticks() -> None:
    """Send the waiting ticks one by one, forever."""
    with requests.Session() as session:
        session.headers.update(HEADERS)
        while True:
            tick = waiting.get()
            try:
                sent = session.post(f"{URL}/streaks/record", json=tick, timeout=TIMEOUT_SECONDS)
                sent.raise_for_status()
            except requests.RequestException as error:
                # No retry: the next login of the day counts as well.
                log.warning("streak tick of %s failed: %s", tick["participant_id"], error)
            finally:
                waiting.task_done()


def leave() -> None:
    """Wait for the last ticks before the process exits."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while waiting.unfinished_tasks and time.monotonic() < deadline:
        time.sleep(0.01)


def main() -> None:
    logging.basicConfig()
    threading.Thread(target=send_ticks, name="streak-ticks", daemon=True).start()
    for user_id in sys.argv[1:]:
        on_login_success(user_id)
        print(f"{user_id} is logged in", flush=True)
    leave()


if __name__ == "__main__":
    main()
