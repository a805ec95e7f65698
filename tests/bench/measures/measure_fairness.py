"""What three bad destinations among ten cost the other seven: p99 from publishing to arrival."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from models import clock, ids
from models.db import transaction
from models.delivery import destinations
from models.identity import tenants
from models.identity.tenants import Tenant
from tests.bench import load
from tests.bench.peers.routes import fact_body
from tests.bench.process import wait_until
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.receiver import OK, Answer, Receiver, Request
from webhooks import facts, outbox, secrets
from webhooks.facts import Fact
from workers.maintenance import dispatch

WELL = 7
FACTS_PER_SECOND = 30  # to ten destinations each: 300 deliveries a second, far from saturation
WARM_SECONDS = 1.0  # connections are opened: left out of both
ARRIVED_SECONDS_MAX = 60.0

_NAMES = frozenset(map(str, range(WELL)))
_slugs = itertools.count(1)


def fairness(stack: Stack) -> list[Row]:
    """The same load on ten destinations: with three bad ones, and with ten that are well."""
    bad, well = [], []
    with stack.worker("webhooks"):
        _p99_ms(stack, 60, is_any_bad=False)  # the process is up, its code loaded
        for _ in stack.rounds(3):
            well.append(_p99_ms(stack, stack.some(600), is_any_bad=False))
            bad.append(_p99_ms(stack, stack.some(600), is_any_bad=True))
    return [
        Row(
            "p99 from fact to receiver, seven destinations beside three bad ones",
            "the same seven beside three that are well",
            "ms",
            bad,
            well,
            at_most=1.5,
            note="one hangs, one drips its answer byte by byte, one is dead; one webhook process,"
            f" {FACTS_PER_SECOND} facts/s to each of the ten",
        )
    ]


def _p99_ms(stack: Stack, count: int, *, is_any_bad: bool) -> float:
    with Receiver(reply=_by_path) as receiver, _dead_port() as dead:
        others = ("hangs", "drips") if is_any_bad else ("7", "8", "9")
        urls = [f"{receiver.url}/{name}" for name in (*map(str, range(WELL)), *others)]
        with _tenant(stack, [*urls, f"http://127.0.0.1:{dead}/"] if is_any_bad else urls) as tenant:
            published = _publish(stack, tenant, count)
            latencies = _latencies(receiver, published)
    ranked = sorted(latencies)
    return 1_000 * ranked[int(0.99 * len(ranked))]


def _by_path(request: Request) -> Answer:
    if request.path.endswith("hangs"):
        return Answer(hangs=True)
    return Answer(drips=True) if request.path.endswith("drips") else OK


@contextmanager
def _dead_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else is given meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@contextmanager
def _tenant(stack: Stack, urls: list[str]) -> Iterator[Tenant]:
    """A tenant with a destination for each URL; they are deleted afterwards."""
    ring = secrets.ring(stack.settings.secret_keys)
    with transaction(stack.engine) as session:
        tenant = tenants.create(session, f"fairness-{next(_slugs)}", 0)["live"]
        made = [destinations.create(session, tenant.id, _destination(url, ring)).id for url in urls]
    yield tenant
    with transaction(stack.engine) as session:
        for webhook_id in made:
            destinations.delete(session, tenant.id, webhook_id)


def _destination(url: str, ring: secrets.Ring) -> dict[str, object]:
    return {
        "url": url,
        "description": None,
        "event_types": ["behavior.*"],
        "is_enabled": True,
        "secret": secrets.encrypt(ring, secrets.generate()),
    }


def _publish(stack: Stack, tenant: Tenant, count: int) -> dict[str, float]:
    """Publish facts at a steady pace; when each was begun to be, by its id."""
    with transaction(stack.engine) as session:
        wanted = destinations.destination_filters(session, [tenant.id])
    published = {}
    for nth, now in enumerate(_beats(count), start=1):
        fact_id, name = ids.uuid7(clock.now_us()), f"user_{nth % 100}"
        body = fact_body(name, "daily_login", 7, nth)
        fact = Fact(tenant.id, fact_id, 1, nth, facts.STREAK_RECORDED, clock.now_us(), body)
        published[facts.public_id(fact_id)] = now
        with transaction(stack.engine) as session:
            outbox.publish(session, [fact], wanted)
        dispatch.wake(stack.intake.client, stack.intake.celery)
    return published


def _beats(count: int) -> Iterator[float]:
    """The instants (Unix time) of a steady pace; each is waited for."""
    started = time.time()
    for nth in range(count):
        due = started + nth / FACTS_PER_SECOND
        time.sleep(max(0.0, due - time.time()))
        yield time.time()


def _latencies(receiver: Receiver, published: dict[str, float]) -> list[float]:
    """Seconds from publishing to arrival at those that are well, once each has everything."""
    expected = WELL * len(published)
    wait_until(lambda: len(_arrived(receiver)) >= expected, ARRIVED_SECONDS_MAX)
    arrived = _arrived(receiver)
    if len(arrived) != expected:
        raise load.VoidRunError(f"{expected} deliveries were to arrive, {len(arrived)} did")
    counted = min(published.values()) + WARM_SECONDS
    return [one.arrived - published[one.id] for one in arrived if published[one.id] >= counted]


def _arrived(receiver: Receiver) -> list[Request]:
    return [one for one in list(receiver.requests) if one.path.rsplit("/", 1)[-1] in _NAMES]
