"""A daily streak in the participant's own time zone: name the zone, send the true instant.

export UNBROKEN_URL=http://127.0.0.1:8000 UNBROKEN_KEY=bq_live_…
python examples/local_time_zone.py user_42 Australia/Sydney            # with the tick
python examples/local_time_zone.py user_42 Australia/Sydney --remember # with the participant
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import requests

URL = os.environ.get("UNBROKEN_URL", "http://127.0.0.1:8000") + "/api/v1/gamify"
HEADERS = {"X-API-Key": os.environ.get("UNBROKEN_KEY", "")}
TIMEOUT_SECONDS = 5


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a body and return the answer's; raises for an error."""
    answer = requests.post(f"{URL}{path}", json=body, headers=HEADERS, timeout=TIMEOUT_SECONDS)
    answer.raise_for_status()
    return dict(answer.json())


def record_local_daily_login(participant_id: str, zone: str) -> dict[str, Any]:
    """Your user record has the time zone: send it with each tick. Without a timestamp it is now."""
    return post(
        "/streaks/record",
        {"participant_id": participant_id, "streak_code": "daily_login", "timezone": zone},
    )


def remember_zone(participant_id: str, zone: str) -> None:
    """Store the time zone with the participant, once and after each move."""
    post("/participants", {"participant_id": participant_id, "timezone": zone})


def record_daily_login(participant_id: str) -> dict[str, Any]:
    """For a streak with `"boundary": "participant"`."""
    return post(
        "/streaks/record",
        {"participant_id": participant_id, "streak_code": "daily_login_local"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("participant_id")
    parser.add_argument("zone", help="an IANA name")
    parser.add_argument("--remember", action="store_true", help="keep it with the participant")
    given = parser.parse_args()
    if given.remember:
        remember_zone(given.participant_id, given.zone)
        tick = record_daily_login(given.participant_id)
    else:
        tick = record_local_daily_login(given.participant_id, given.zone)
    print(json.dumps(tick))


if __name__ == "__main__":
    main()
