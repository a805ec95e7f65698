"""Remind participants who are about to lose a long streak. Run it every few hours.

UNBROKEN_URL=http://127.0.0.1:8000 UNBROKEN_KEY=bq_live_… python examples/at_risk_campaign.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import requests

URL = os.environ.get("UNBROKEN_URL", "http://127.0.0.1:8000") + "/api/v1/gamify"
HEADERS = {"X-API-Key": os.environ.get("UNBROKEN_KEY", "")}
STREAK = "daily_login"
MIN_COUNT = 7  # a streak of two days is not worth a push
QUIET_FROM, QUIET_UNTIL = 22, 8  # hours in the participant's time zone
TIMEOUT_SECONDS = 10


def at_risk(session: requests.Session) -> Iterator[dict[str, Any]]:
    """All participants at risk, page by page. Only a null cursor marks the end."""
    params: dict[str, str | int] = {"min_count": MIN_COUNT, "limit": 100}
    while True:
        answer = session.get(
            f"{URL}/streaks/{STREAK}/at-risk", params=params, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        page = answer.json()
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        params["after"] = page["next_cursor"]


def is_quiet(zone: str | None, now: datetime) -> bool:
    """Whether it is night in the participant's time zone, or in UTC if none is known."""
    hour = now.astimezone(ZoneInfo(zone or "UTC")).hour
    return hour >= QUIET_FROM or hour < QUIET_UNTIL


def push(one: dict[str, Any]) -> dict[str, Any]:
    """The push to send. Your push service drops a second one with the same key."""
    return {
        "user_id": one["participant_id"],
        "title": f"Don't lose your {one['current_count']}-day streak",
        "body": "Open the app to keep it alive.",
        "deep_link": "/streaks",
        "key": f"{one['participant_id']}/{one['streak_code']}/{one['expires_at']}",
    }


def main() -> None:
    now = datetime.now(UTC)
    with requests.Session() as session:
        session.headers.update(HEADERS)
        for one in at_risk(session):
            if not is_quiet(one["timezone"], now):
                print(json.dumps(push(one)), flush=True)


if __name__ == "__main__":
    main()
