"""The Python client (clients/python) against a running API, and against what goes wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from flask import Flask
from unbroken_client import (
    Accepted,
    ApiError,
    Limits,
    Recorded,
    Retries,
    Sending,
    TickQueue,
    Unbroken,
    UnbrokenError,
    Unreachable,
    Wish,
    raise_for_error,
)
from unbroken_client.errors import (
    BadRequest,
    Conflict,
    InsufficientPoints,
    Invalid,
    NotFound,
    OutcomeUnknown,
    QueueFull,
    RateLimited,
    ServerFault,
    Unauthorized,
    Unavailable,
    family,
)
from unbroken_client.many import BYTES_MAX, batches
from unbroken_client.results import Awarded, Moved, TickInput
from unbroken_client.transport import Call

from api.http.problems import CODES
from models.db import Engine
from tests.calls import client_of, count, draining, make_badge, make_streak, noon
from tests.conftest import Account
from tests.e2e.running import ROOT, environment
from tests.e2e.service import Service, listening
from tests.pipeline import Pipeline

README = (ROOT / "clients" / "python" / "README.md").read_text()
WAIT = Wish(wait_seconds=10)
KEY = "bq_live_secret"


@pytest.fixture
def service(app: Flask, account: Account, pipeline: Pipeline) -> Iterator[Service]:
    """A tenant with a streak and a badge."""
    key = account.keys["live"]
    make_streak(client_of(app, key), grace_periods=1)
    make_badge(client_of(app, key))
    with listening(app, key, pipeline) as made:
        yield made


@pytest.fixture
def api(service: Service) -> Iterator[Unbroken]:
    """A client of it."""
    with Unbroken(service.url, service.key) as made:
        yield made


def test_it_records_awards_and_reads(api: Unbroken, service: Service) -> None:
    with draining(service.pipeline):
        api.record("a/streaks", "daily_login", WAIT, timestamp=noon(2))
        done = api.record("a/streaks", "daily_login", WAIT, timestamp=noon(1), metadata={"x": 1})
        award = api.award("a/streaks", "power_user", {"why": "test"}, WAIT)
    assert isinstance(done, Recorded)
    assert (done.outcome, done.new_count, done.previous_count) == ("extended", 2, 1)
    assert isinstance(award, Awarded)
    assert not award.already_earned
    assert api.profile("a/streaks").total_events == 2
    assert api.participant("a/streaks", display_name="Ann").display_name == "Ann"
    assert api.state("a/streaks", "badges")["badges"][0]["code"] == "power_user"
    (streak,) = api.streaks("a/streaks")
    assert (streak.current_count, streak.period) == (2, "daily")
    past = api.history("a/streaks", "daily_login")
    assert [one.status for one in past.periods][:2] == ["recorded", "recorded"]
    assert [fact["type"] for fact, _ in api.facts()][-1] == "badge.awarded"
    assert len(api.export_participant("a/streaks")["ticks"]) == 2


def test_it_restores_many(api: Unbroken, service: Service) -> None:
    made = api.restores.start("daily_login", ["a/streaks"], reason="Ours")
    assert (made.status, made.total, made.lost_between) == ("running", 1, None)
    assert api.restores.get("daily_login", made.id) == made
    assert api.restores.cancel("daily_login", made.id).status == "cancelled"
    span = ("2026-05-23", "2026-05-24")
    twice = [api.restores.start("daily_login", None, span, None, True, "once") for _ in range(2)]
    assert twice[0] == twice[1]
    assert twice[0].lost_between == {"from": span[0], "to": span[1]}
    assert twice[0].is_preview


def test_it_moves_points(api: Unbroken, service: Service) -> None:
    with draining(service.pipeline):
        made = api.points.award("ann", 100, WAIT, reason="purchase")
        api.points.deduct("ann", 30, WAIT)
        with pytest.raises(InsufficientPoints, match="Available: 70, requested: 71"):
            api.points.deduct("ann", 71, WAIT)
        raise_for_error(api.points.award_many([{"participant_id": "ann", "amount": 5}]))
    service.pipeline.drain()  # what was not waited for
    assert isinstance(made, Moved)
    assert made.new_balance == 100
    assert api.points.balance("ann").balance == 75
    assert [one["amount"] for one in api.points.transactions("ann")] == [5, -30, 100]


def test_what_is_not_waited_for_can_be_asked_for(api: Unbroken, service: Service) -> None:
    done = api.record("ann", "daily_login", Wish(respond_async=True))
    assert isinstance(done, Accepted)
    assert api.outcome(done).status == "accepted"
    service.pipeline.drain()
    assert api.outcome(done, wait_seconds=5).status == "applied"


def test_the_same_key_counts_once_and_another_body_is_a_conflict(
    api: Unbroken, service: Service, engine: Engine, account: Account
) -> None:
    wish = Wish(respond_async=True, idempotency_key="order-1")
    assert api.record("ann", "daily_login", wish) == api.record("ann", "daily_login", wish)
    with pytest.raises(Conflict) as caught:
        api.record("bob", "daily_login", wish)
    assert caught.value.code == "idempotency_conflict"
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 1


def test_refusals_are_classes_with_fields(api: Unbroken, service: Service) -> None:
    with pytest.raises(NotFound, match="Streak 'nope' not found"):
        api.record("ann", "nope")
    with pytest.raises(Invalid) as caught:
        api.record("ann", "daily_login", timezone="Mars/Base")
    assert [one.field for one in caught.value.fields] == ["timezone"]
    assert str(caught.value) == (
        "Invalid: timezone (validation_error):"
        " timezone must be an IANA time zone such as Australia/Sydney"
    )
    assert str(copy(caught.value)) == str(caught.value)
    assert caught.value.request_id
    with Unbroken(service.url, "bq_live_wrong") as other, pytest.raises(Unauthorized) as refused:
        other.streaks("ann")
    assert "wrong" not in f"{refused.value!r} {refused.value} {other!r} {other.transport!r}"


def test_many_are_sent_in_batches_and_each_is_answered_in_its_place(
    api: Unbroken, service: Service, engine: Engine, account: Account
) -> None:
    def ticks() -> Iterator[TickInput]:
        for nth in range(2_345):
            code = "nope" if nth == 1_234 else "daily_login"
            yield {"participant_id": f"user_{nth}", "streak_code": code}

    results = list(api.record_many(ticks(), Sending(facts=False)))
    assert [one.index for one in results] == list(range(2_345))
    assert [one.index for one in results if one.error] == [1_234]
    assert isinstance(results[1_234].error, NotFound)
    raise_for_error(api.award_many([{"participant_id": "user_1", "badge_code": "power_user"}]))
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 2_344


def test_a_batch_is_never_larger_than_a_body_may_be() -> None:
    items = [{"participant_id": "é" * 200, "metadata": {"x": "y" * nth}} for nth in range(3_000)]
    made = list(batches(items))
    assert [item for batch in made for item in batch] == items
    assert all(len(batch) <= 1_000 for batch in made)
    assert max(len(str(batch)) for batch in made) <= BYTES_MAX


def test_items_over_a_cap_are_sent_again_when_there_is_patience(
    app: Flask, make_account: Any, pipeline: Pipeline
) -> None:
    key = make_account(2).keys["live"]
    make_streak(client_of(app, key))
    slept: list[float] = []
    ticks: list[TickInput] = [
        {"participant_id": "ann", "streak_code": "daily_login", "timestamp": noon(day)}
        for day in range(3)
    ]
    with listening(app, key, pipeline) as service, Unbroken(service.url, key) as api:
        assert [type(one.error) for one in api.record_many(ticks)][-1] is RateLimited

        def lift(seconds: float) -> None:
            slept.append(seconds)
            names = pipeline.client.keys("*rate*ann")
            pipeline.client.delete(*names)

        api.transport.sleep = lift
        assert [one.error for one in api.record_many(ticks, Sending(patience_seconds=60))] == [
            None, None, None,
        ]  # fmt: skip
    assert slept


def test_a_queue_sends_by_number_and_by_time_and_loses_nothing_at_its_end(
    api: Unbroken, service: Service, engine: Engine, account: Account
) -> None:
    refused: list[tuple[TickInput, UnbrokenError]] = []
    with TickQueue(api, lambda *one: refused.append(one), Limits(items=50, seconds=0.1)) as queue:
        for nth in range(123):
            queue.put({"participant_id": f"user_{nth}", "streak_code": "daily_login"})
        queue.put({"participant_id": "x", "streak_code": "nope"})
    with pytest.raises(QueueFull):
        queue.put({"participant_id": "late", "streak_code": "daily_login"})
    assert [tick["participant_id"] for tick, _ in refused] == ["x"]
    service.pipeline.drain()
    assert count(engine, "ticks", account.live) == 123


def test_pages_and_feeds_are_read_to_their_ends(api: Unbroken, service: Service) -> None:
    ticks: list[TickInput] = [
        {"participant_id": f"user_{nth}", "streak_code": "daily_login", "timestamp": noon(2)}
        for nth in range(230)
    ]
    raise_for_error(api.record_many(ticks))
    service.pipeline.drain()
    assert len({one["participant_id"] for one in api.participants()}) == 230
    assert len({one.participant_id for one in api.at_risk("daily_login")}) == 230
    assert len({fact["id"] for fact, _ in api.facts(types="behavior.*")}) == 230
    assert list(api.facts("latest")) == []


def test_every_code_of_the_api_has_its_family() -> None:
    for code, (status, _) in CODES.items():
        kind = family(code, status)
        assert issubclass(kind, ApiError)
        if 400 <= status < 500:
            assert kind is not ServerFault, code
    assert family("a_newer_code", 409) is Conflict
    assert family("body_too_large", 413) is BadRequest


# -- what goes wrong -------------------------------------------------------------------------


Given = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(*answers: Given) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these answers, one after the other; status 0 hangs up."""
    left, heard = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.headers.get("Idempotency-Key"))
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = left.pop(0)
            if not status:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


DONE: Given = (202, {}, b'{"tick_id": "t1", "status": "accepted", "status_url": "/x"}')
BUSY: Given = (
    503,
    {"Retry-After": "3"},
    b'{"status": 503, "code": "overloaded", "detail": ""}',
)


def test_it_tries_again_under_the_same_key_and_as_late_as_it_is_told_to() -> None:
    slept: list[float] = []
    with answering(BUSY, (0, {}, b""), (429, {}, b"nginx"), DONE) as (url, heard):
        api = Unbroken(url, KEY)
        api.transport.sleep = slept.append
        done = api.record("ann", "daily_login")
        api.close()
    assert isinstance(done, Accepted)
    assert len(heard) == 4
    assert len(set(heard)) == 1
    assert 3 <= slept[0] <= 3.2
    assert all(0 < seconds <= 1 for seconds in slept[1:])


def test_it_gives_up_after_its_tries_and_at_once_where_trying_again_is_of_no_use() -> None:
    with answering(BUSY, BUSY) as (url, heard):
        api = Unbroken(url, KEY, Retries(tries_max=2))
        api.transport.sleep = lambda _: None
        with pytest.raises(Unavailable):
            api.record("ann", "daily_login")
        api.close()
    assert len(heard) == 2
    with (
        answering((400, {}, b"<html>")) as (url, heard),
        Unbroken(url, KEY) as api,
        pytest.raises(UnbrokenError, match="check the url"),
    ):
        api.record("ann", "daily_login")
    assert len(heard) == 1


UNKNOWN: Given = (503, {}, b'{"status": 503, "code": "outcome_unknown", "detail": ""}')
AWAY: Given = (503, {}, b'{"status": 503, "code": "unavailable", "detail": ""}')


@pytest.mark.parametrize("unknown", [UNKNOWN, (503, {}, b"<html>"), (0, {}, b"")])
def test_it_sends_again_what_may_have_been_done_only_where_that_has_no_second_effect(
    unknown: Given,
) -> None:
    for is_safe, requests_sent in ((True, 2), (False, 1)):
        with answering(unknown, DONE) as (url, heard), Unbroken(url, KEY) as api:
            api.transport.sleep = lambda _: None
            with nullcontext() if is_safe else pytest.raises((OutcomeUnknown, Unreachable)):
                api.transport.call(Call("POST", "/streaks", {}, is_safe=is_safe))
        assert len(heard) == requests_sent
    with answering(AWAY, DONE) as (url, heard), Unbroken(url, KEY) as api:
        api.transport.sleep = lambda _: None
        api.transport.call(Call("POST", "/streaks", {}, is_safe=False))
    assert len(heard) == 2


def test_an_item_whose_outcome_is_unknown_is_not_sent_under_another_key() -> None:
    error = b'{"code": "outcome_unknown", "detail": "", "errors": []}'
    told: Given = (202, {}, b'{"results": [{"index": 0, "error": ' + error + b"}]}")
    with answering(told, told) as (url, heard), Unbroken(url, KEY) as api:
        api.transport.sleep = lambda _: None
        how = Sending(patience_seconds=60)
        (result,) = api.points.award_many([{"participant_id": "ann", "amount": 5}], how)
    assert isinstance(result.error, OutcomeUnknown)
    assert len(heard) == 1


def test_nothing_that_it_raises_or_shows_holds_the_key() -> None:
    api = Unbroken("http://127.0.0.1:9", KEY, Retries(tries_max=1))
    with pytest.raises(Unreachable) as caught:
        api.record("ann", "daily_login")
    told = f"{caught.value!r} {caught.value.__cause__!r} {api!r} {api.transport!r} {api.points!r}"
    assert "secret" not in told
    for url in ("ftp://x", "nonsense", "http://user:pass@host"):
        with pytest.raises(ValueError, match="url must"):
            Unbroken(url, KEY)


def test_the_examples_of_its_readme_run(service: Service) -> None:
    env = environment(UNBROKEN_URL=service.url, UNBROKEN_KEY=service.key)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    service.pipeline.drain()
    assert service.call("GET", "/admin/participants")["total"] == 2_500
