"""Guessing keys is slowed: by address, without asking a server, and without harm to who works."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from api.http.failed_key_throttle import WINDOW_SECONDS, Throttle
from api.http.key_list import LOOKUPS_PER_SECOND
from api.http.problems import Problem
from models.db import Engine
from models.identity import tenants
from settings import Settings
from tests.calls import another_app, client_of, make_key, make_streak, post_tick, problem, revoke
from tests.conftest import BASE, Account

LIMIT = 3
STREAKS = f"{BASE}/streaks"
GUESSER, ELSEWHERE = "192.0.2.7", "192.0.2.8"
KNOWN = 403  # of a participant key: it is valid, and lacks the scope for definitions
Clock = list[float]


@pytest.fixture
def clock() -> Clock:
    """What the throttle takes for the time; its only item."""
    return [1_000.0]


@pytest.fixture
def strict(settings: Settings, engine: Engine, redis_client: redis.Redis) -> Iterator[Flask]:
    """An API process with a low limit."""
    with another_app(settings, failed_keys_per_minute=LIMIT) as app:
        yield app


def guess(app: Flask, address: str = GUESSER, key: str | None = None) -> tuple[int, str | None]:
    """The status and the `Retry-After` that a guess is answered with."""
    client = client_of(app, key or tenants.new_key("live"))
    answered = client.get(STREAKS, environ_base={"REMOTE_ADDR": address})
    return answered.status_code, answered.headers.get("Retry-After")


def statuses(app: Flask, times: int, address: str = GUESSER) -> list[int]:
    return [guess(app, address)[0] for _ in range(times)]


def from_address(client: FlaskClient, address: str) -> FlaskClient:
    client.environ_base["REMOTE_ADDR"] = address
    return client


# -- who is refused --------------------------------------------------------------------------


def test_it_refuses_the_guesses_beyond_the_limit_of_one_address_only(strict: Flask) -> None:
    assert statuses(strict, LIMIT) == [401] * LIMIT
    client = from_address(client_of(strict, tenants.new_key("live")), GUESSER)
    refused = client.get(STREAKS)
    problem(refused, 429, "too_many_failed_keys")
    assert 1 <= int(refused.headers["Retry-After"]) <= WINDOW_SECONDS
    assert statuses(strict, 1, ELSEWHERE) == [401]


def test_it_counts_every_way_in_which_a_key_can_fail(
    strict: Flask, app: Flask, engine: Engine, account: Account
) -> None:
    revoked = make_key(engine, account.live)
    revoke(app, account.live, revoked)
    expired = make_key(engine, account.live, lives_s=-1)
    mistyped = account.keys["live"][:-1] + "?"
    for nth, key in enumerate((revoked, expired, mistyped)):
        address = f"198.51.100.{nth}"
        answered = [guess(strict, address, key)[0] for _ in range(LIMIT + 1)]
        assert answered == [401] * LIMIT + [429], nth


def test_it_asks_the_database_within_a_budget_for_guesses_beyond_the_limit(
    strict: Flask, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = strict.extensions["unbroken"]
    monkeypatch.setattr(context.key_list, "_now", lambda: 1_000.0)
    statuses(strict, LIMIT)
    asked: list[str] = []
    sa.event.listen(
        context.engine, "before_cursor_execute", lambda *given: asked.append(str(given[2]))
    )
    assert set(statuses(strict, 100)) == {429}
    assert len([one for one in asked if "api_keys" in one]) == 1 + LOOKUPS_PER_SECOND


def test_it_asks_no_server_for_a_mistyped_key_beyond_the_limit(
    settings: Settings, redis_client: redis.Redis
) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with another_app(settings, failed_keys_per_minute=1, database_url=nowhere) as app:
        assert guess(app)[0] == 503  # it asked: that is no failure of the key's
        assert guess(app, key="bq_live_mistyped")[0] == 401
        assert guess(app, key="bq_live_mistyped")[0] == 429


def test_fifty_valid_keys_that_a_process_has_not_read_are_all_let_in_from_a_throttled_address(
    strict: Flask, engine: Engine, account: Account
) -> None:
    keys = [make_key(engine, account.live) for _ in range(50)]
    found: list[int] = []
    for key in keys:
        assert statuses(strict, LIMIT + 1)[-1] == 429
        found.append(guess(strict, key=key)[0])
    assert found == [KNOWN] * 50


def test_a_key_that_was_made_a_moment_ago_is_let_in_from_a_throttled_address(
    strict: Flask, engine: Engine, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = strict.extensions["unbroken"]
    monkeypatch.setattr(context.key_list, "_now", lambda: 1_000.0)
    assert statuses(strict, LIMIT + 1)[-1] == 429  # the list is read by now
    assert guess(strict, key=make_key(engine, account.live))[0] == KNOWN


def test_a_revoked_key_is_a_guess_though_it_stood_in_the_list(
    strict: Flask, app: Flask, engine: Engine, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, context = make_key(engine, account.live), strict.extensions["unbroken"]
    monkeypatch.setattr(context.key_list, "_now", lambda: 1_000.0)
    assert statuses(strict, LIMIT + 1)[-1] == 429
    revoke(app, account.live, key)
    assert [guess(strict, key=key)[0] for _ in range(3)] == [429] * 3
    assert tenants.hash_key(key) not in context.key_list._hashes


def test_it_never_refuses_a_key_that_is_known_to_be_valid(strict: Flask, account: Account) -> None:
    mine = from_address(client_of(strict, account.keys["live"]), GUESSER)
    make_streak(mine)
    assert statuses(strict, LIMIT + 1)[-1] == 429
    assert post_tick(mine).status_code == 202
    assert mine.get(STREAKS).status_code == 200
    assert guess(strict, key=account.keys["test"])[0] == 200  # not known here yet


def test_a_change_of_configuration_does_not_make_a_key_a_guess(
    strict: Flask, account: Account
) -> None:
    mine = from_address(client_of(strict, account.keys["live"]), GUESSER)
    make_streak(mine)
    assert statuses(strict, LIMIT + 1)[-1] == 429
    with strict.extensions["unbroken"].intake.changing([account.live.id]):
        for _ in range(3):  # each reads the key anew, and none may be remembered
            assert post_tick(mine).status_code == 202
            assert mine.get(STREAKS).status_code == 200


def test_it_does_not_count_requests_without_a_key(strict: Flask) -> None:
    client = from_address(strict.test_client(), GUESSER)
    assert [client.get(STREAKS).status_code for _ in range(LIMIT + 2)] == [401] * (LIMIT + 2)
    assert statuses(strict, 1) == [401]


def test_no_limit_is_a_limit_of_0(app: Flask) -> None:
    assert statuses(app, 50) == [401] * 50


# -- whose address it is ---------------------------------------------------------------------


def test_it_takes_the_address_from_as_many_proxies_as_the_operator_has(
    settings: Settings, engine: Engine, redis_client: redis.Redis
) -> None:
    def sent(app: Flask, forwarded: str) -> int:
        client = client_of(app, tenants.new_key("live"))
        return client.get(STREAKS, headers={"X-Forwarded-For": forwarded}).status_code

    with another_app(settings, failed_keys_per_minute=1, proxies=1) as app:
        assert [sent(app, f"192.0.2.{nth}") for nth in range(5)] == [401] * 5
        assert [sent(app, f"10.0.0.{nth}, 192.0.2.9") for nth in range(3)] == [401, 429, 429]
    with another_app(settings, failed_keys_per_minute=1) as app:  # no proxy: clients lie
        assert [sent(app, f"192.0.2.{nth}") for nth in range(3)] == [401, 429, 429]


def test_it_believes_proxies_nothing_but_the_address(
    settings: Settings, redis_client: redis.Redis, account: Account
) -> None:
    lies = {
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Prefix": "/evil",
    }
    with another_app(settings, proxies=1) as app:
        client = client_of(app, account.keys["live"])
        make_streak(client)
        answered = post_tick(client, headers=lies)
    assert answered.status_code == 202
    assert "evil" not in answered.text + str(answered.headers)


def test_it_counts_what_is_no_address_as_one(
    settings: Settings, engine: Engine, redis_client: redis.Redis
) -> None:
    with another_app(settings, failed_keys_per_minute=1, proxies=1) as app:
        client = client_of(app, tenants.new_key("live"))
        sent = [
            client.get(STREAKS, headers={"X-Forwarded-For": text}).status_code
            for text in ("unknown", "_hidden", "x" * 5_000)
        ]
    assert sent == [401, 429, 429]


# -- what it remembers -----------------------------------------------------------------------


@pytest.fixture
def make(clock: Clock) -> Callable[..., Throttle]:
    """A throttle whose clock the test sets."""
    return lambda limit=LIMIT, most=100: Throttle(limit, most, lambda: clock[0])


def is_refused(throttle: Throttle, address: str) -> bool:
    try:
        throttle.check(address)
    except Problem as error:
        assert (error.status, error.code) == (429, "too_many_failed_keys")
        return True
    return False


def test_it_forgets_after_a_minute(make: Callable[..., Throttle], clock: Clock) -> None:
    throttle = make()
    for _ in range(LIMIT):
        assert not is_refused(throttle, GUESSER)
        throttle.failed(GUESSER)
        clock[0] += 1
    with pytest.raises(Problem) as refused:
        throttle.check(GUESSER)
    assert refused.value.headers == {"Retry-After": str(int(WINDOW_SECONDS) - LIMIT)}
    clock[0] += WINDOW_SECONDS - LIMIT - 0.5
    assert is_refused(throttle, GUESSER)
    clock[0] += 0.5
    assert not is_refused(throttle, GUESSER)


def test_it_takes_a_network_of_ipv6_for_one_client(make: Callable[..., Throttle]) -> None:
    throttle = make(1)
    throttle.failed("2001:db8:1:2::1")
    assert is_refused(throttle, "2001:db8:1:2:ffff::9")
    assert not is_refused(throttle, "2001:db8:1:3::1")
    throttle.failed("::ffff:192.0.2.7")
    assert is_refused(throttle, "192.0.2.7")
    assert not is_refused(throttle, "192.0.2.8")


def test_it_remembers_no_more_addresses_than_it_may(make: Callable[..., Throttle]) -> None:
    throttle = make(1, 3)
    for nth in range(10):
        throttle.failed(f"192.0.2.{nth}")
    assert [nth for nth in range(10) if is_refused(throttle, f"192.0.2.{nth}")] == [7, 8, 9]
