"""What the tests of pauses, freezes, repairs and retractions say often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from settings import Settings
from tests.calls import noon, post_json, post_tick
from tests.conftest import BASE
from tests.pipeline import Pipeline, worker_context
from workers.maintenance import restores
from workers.runtime.celery_config import make_celery

WHO = "user_42"
STREAK = "daily_login"
GUEST = "guest_7f3a"  # who becomes WHO by a merge


def day(days_ago: int) -> str:
    """A day in UTC, as a date; below zero: ahead."""
    return (datetime.now(UTC).date() - timedelta(days=days_ago)).isoformat()


def record_days(
    client: FlaskClient, pipeline: Pipeline, *days_ago: int, who: str = WHO
) -> list[str]:
    """Record a tick at noon of each day, and apply them; return their ids."""
    ids = [post_tick(client, who, timestamp=noon(ago)).get_json()["tick_id"] for ago in days_ago]
    pipeline.drain()
    return ids


def of(who: str = WHO, code: str = STREAK) -> str:
    """The URL of a participant's streak."""
    return f"{BASE}/participants/{who}/streaks/{code}"


def streak_of(client: FlaskClient, who: str = WHO, code: str = STREAK) -> dict[str, Any]:
    """The live entry of a participant's streak."""
    found = client.get(f"{BASE}/participants/{who}/streaks").get_json()["streaks"]
    [entry] = [one for one in found if one["code"] == code]
    return dict(entry)


def history_of(client: FlaskClient, who: str = WHO, code: str = STREAK) -> dict[str, str]:
    """What each period was, by its key; a protected one with its cause."""
    found = client.get(f"{of(who, code)}/history").get_json()["periods"]
    return {one["period_key"]: one["by"] or one["status"] for one in found}


def pause(
    client: FlaskClient, first: int, last: int, who: str = WHO, **values: Any
) -> TestResponse:
    """POST a pause of days, counted back from today."""
    body = {"from": day(first), "to": day(last)} | values
    return post_json(client, f"{BASE}/participants/{who}/pauses", body)


def settled(client: FlaskClient, pipeline: Pipeline, accepted: TestResponse) -> dict[str, Any]:
    """What became of an accepted change, as its status says once it is applied."""
    assert accepted.status_code == 202, accepted.text
    body = accepted.get_json()
    assert client.get(body["status_url"]).get_json()["status"] == "accepted"
    pipeline.drain()
    return dict(client.get(body["status_url"]).get_json())


def applied(client: FlaskClient, pipeline: Pipeline, accepted: TestResponse) -> dict[str, Any]:
    """The result of an accepted change, which must be applied."""
    found = settled(client, pipeline, accepted)
    assert found["status"] == "applied", found
    return dict(found["result"])


def refused(client: FlaskClient, pipeline: Pipeline, accepted: TestResponse) -> str:
    """The code of an accepted change, which must be refused."""
    found = settled(client, pipeline, accepted)
    assert found["status"] == "rejected", found
    return str(found["code"])


def merge(client: FlaskClient, who: str = WHO, guest: str = GUEST, **values: Any) -> TestResponse:
    """POST a merge of a guest into a participant."""
    return post_json(client, f"{BASE}/participants/{who}/merge", {"from": guest} | values)


@contextmanager
def restoring(settings: Settings, pipeline: Pipeline) -> Iterator[None]:
    """Restores of many that run beside the block, as upkeep runs them."""
    celery = make_celery(settings.redis_url)
    context = worker_context(settings, pipeline.engine, pipeline.client, celery, "beside")
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.05):
            restores.run(context)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        celery.close()
