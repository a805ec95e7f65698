"""A link is cut, or carries nothing more: who needs it says so, and goes on once it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from api.cli.local.proc import wait_until
from models import clock
from tests.e2e.stack import BASE, PATIENCE_SECONDS, Load, Stack, tick
from tests.integration.batches import Planned

pytestmark = [pytest.mark.alone, pytest.mark.promise("P1")]

PROMISED_SECONDS = 3.0  # contract: within a second; the rest is for two busy cores
READY_SECONDS = 5.0  # reliability: /readyz turns red, and back, within these
FAULTS = ("cut", "stall")


@contextmanager
def broken(stack: Stack, name: str, fault: str) -> Iterator[None]:
    """A link is cut or half open for the length of a block."""
    getattr(stack.links[name], fault)()
    try:
        yield
    finally:
        stack.links[name].heal()


INSTANT_US = clock.now_us() // 1_000_000 * 1_000_000  # repeated with the same body


def post_tick(load: Load, key: str, name: str) -> requests.Response:
    """A tick beside the load; it counts as one of the load's when it is accepted."""
    one = Planned("beside", "daily", INSTANT_US, None)
    with requests.Session() as session:
        session.headers.update({"X-API-Key": key, "Prefer": "respond-async"})
        answer = tick(load.stack, session, one, name)
    assert answer is not None
    if answer.status_code == 202:
        load.planned.append(one)
        load.accepted.add(answer.json()["tick_id"])
    return answer


def assert_unavailable(answer: requests.Response) -> None:
    """503 as documented."""
    found: dict[str, Any] = answer.json()
    assert (answer.status_code, found["code"]) == (503, "unavailable"), answer.text
    assert answer.headers["Retry-After"] == "1"


def assert_refused(answer: requests.Response) -> None:
    """503 as documented: the link may have broken while the write was under way."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] in ("unavailable", "outcome_unknown"), answer.text
    assert answer.headers["Retry-After"] == "1"


def assert_readiness(stack: Stack, *, is_ready: bool) -> None:
    """It turns within the promised time; liveness stays."""
    began = time.monotonic()
    assert wait_until(lambda: stack.is_ready() == is_ready, PATIENCE_SECONDS), stack.log()
    assert time.monotonic() - began < READY_SECONDS
    assert stack.get("/livez").status_code == 200


@pytest.mark.parametrize("fault", FAULTS)
def test_the_api_without_redis_accepts_nothing_says_so_and_still_reads(
    fault: str, stack: Stack, load: Load
) -> None:
    with load.going_on():
        load.wait_for(10)
        with broken(stack, "api-redis", fault):
            for nth in range(3):
                began = time.monotonic()
                assert_refused(post_tick(load, load.key, f"refused-{nth}"))
                assert time.monotonic() - began < PROMISED_SECONDS
            assert_readiness(stack, is_ready=False)
            found = stack.get(f"{BASE}/participants/user_1/streaks", load.key)
            assert (found.status_code, len(found.json()["streaks"])) == (200, 1), found.text
        assert_readiness(stack, is_ready=True)
        for nth in range(3):  # whether or not a mute Redis took it in the end: once
            assert post_tick(load, load.key, f"refused-{nth}").status_code == 202
        load.wait_for(10)
    assert load.statuses <= {202, 503}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_api_without_postgres_accepts_ticks_and_refuses_to_read(
    fault: str, stack: Stack, load: Load
) -> None:
    with load.going_on():
        load.wait_for(10)
        with broken(stack, "api-postgres", fault):
            answers: list[requests.Response] = []
            threads = [
                threading.Thread(target=lambda: answers.append(read(stack, load))) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for nth in range(3):
                beside = post_tick(load, load.key, f"beside-{nth}")
                assert beside.status_code == 202, beside.text + stack.log()
            assert_readiness(stack, is_ready=False)
            assert_unavailable(post_tick(load, load.other_key, "unknown"))
            for thread in threads:
                thread.join()
            assert len(answers) == len(threads)
            for answer in answers:
                assert_unavailable(answer)
            load.wait_for(10)
        assert_readiness(stack, is_ready=True)
        assert wait_until(stack.is_settled, PATIENCE_SECONDS)
        assert read(stack, load).status_code == 200
        assert post_tick(load, load.other_key, "known").status_code == 202
    assert load.statuses == {202}


def read(stack: Stack, load: Load) -> requests.Response:
    """A read that needs Postgres."""
    return stack.get(f"{BASE}/participants/user_1/streaks", load.key)


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ("redis", "cut"),
        ("redis", "strand"),
        ("postgres", "cut"),
        ("postgres", "stall"),
    ],
)
def test_workers_resume_by_themselves(server: str, fault: str, stack: Stack, load: Load) -> None:
    with load.going_on():
        load.receiver.wait_for(3)
        with broken(stack, f"workers-{server}", fault):
            load.wait_for(20)
        load.receiver.wait_for(load.receiver.count + 5, PATIENCE_SECONDS)
    assert load.statuses == {202}
