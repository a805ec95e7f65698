"""The load of `unbroken loadtest`: the ticks to send, and the outcome of each request."""

from __future__ import annotations

import itertools
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from unbroken_client import many
from unbroken_client.client import Unbroken
from unbroken_client.errors import ApiError, UnbrokenError
from unbroken_client.many import TICKS, Sending
from unbroken_client.results import TickInput
from unbroken_client.wish import Wish

DAYS = 60  # range of a participant's ticks
STEP = 7  # coprime to DAYS: covers every day, in an order with late ticks

Pair = tuple[str, str]  # participant, day


@dataclass(frozen=True)
class LoadPlan:
    """The requests to send. The nth tick is always the same."""

    mark: str
    seconds: int
    rate: int  # requests/s; 0: no pause
    clients: int
    participants: int
    batch: int
    today: datetime

    @staticmethod
    def fresh(seconds: int, rate: int, clients: int, participants: int, *, batch: int) -> LoadPlan:
        """A plan with a new name."""
        noon = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        mark = f"loadtest_{secrets.token_hex(4)}"
        return LoadPlan(mark, seconds, rate, clients, participants, batch, noon)

    def participant(self, nth: int) -> str:
        """The nth participant."""
        return f"{self.mark}_{nth}"

    def tick(self, nth: int) -> TickInput:
        """The nth tick: participants in turn, each time on another day."""
        turn, participant = divmod(nth, self.participants)
        day = self.today - timedelta(days=(turn * STEP + participant) % DAYS)
        return {
            "participant_id": self.participant(participant),
            "streak_code": self.mark,
            "timestamp": day.isoformat(),
        }


def pair_of(tick: TickInput) -> Pair:
    """The participant and the day (UTC) of a tick."""
    return tick["participant_id"], tick["timestamp"][:10]


@dataclass
class LoadResult:
    """The outcomes of the requests."""

    accepted: Counter[Pair] = field(default_factory=Counter)
    unsure: Counter[Pair] = field(default_factory=Counter)  # no answer after all retries
    refused: Counter[str] = field(default_factory=Counter)  # by code
    latencies: list[float] = field(default_factory=list)  # seconds per request
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def figures(self) -> dict[str, Any]:
        """The figures for a table."""
        count = self.accepted.total()
        return {
            "seconds": round(self.seconds, 2),
            "requests": len(self.latencies),
            "requests_per_second": round(len(self.latencies) / self.seconds, 1),
            "ticks_accepted": count,
            "ticks_per_second": round(count / self.seconds, 1),
            "p50_ms": self._ms(0.50),
            "p95_ms": self._ms(0.95),
            "p99_ms": self._ms(0.99),
            "refused": ", ".join(f"{n} {code}" for code, n in self.refused.items()) or "none",
            "unanswered": self.unsure.total(),
        }

    def _ms(self, part: float) -> float | None:
        return percentile(self.latencies, part)


def percentile(seconds: Sequence[float], part: float) -> float | None:
    """The latency in ms that this part of the requests did not exceed (nearest rank). Pure."""
    if not seconds:
        return None
    rank = max(0, math.ceil(part * len(seconds)) - 1)
    return round(sorted(seconds)[rank] * 1_000, 1)


def run(api: Unbroken, plan: LoadPlan) -> LoadResult:
    """Send requests for the planned time; all have ended when this returns."""
    result, turns = LoadResult(), itertools.count()
    began = time.monotonic()

    def post() -> None:
        while True:
            with result.lock:
                nth = next(turns)
            due = began + nth / plan.rate if plan.rate else time.monotonic()
            if due >= began + plan.seconds:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            _request(api, plan, nth, result)
            with result.lock:  # from the planned time: a stall of the service counts
                result.latencies.append(time.monotonic() - due)

    threads = [threading.Thread(target=post, daemon=True) for _ in range(plan.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds = time.monotonic() - began
    return result


def _request(api: Unbroken, plan: LoadPlan, nth: int, result: LoadResult) -> None:
    ticks = [plan.tick(nth * plan.batch + index) for index in range(plan.batch)]
    key = f"{plan.mark}:{nth}"
    try:
        errors = _post(api, ticks, key)
    except ApiError as error:
        errors = [error] * len(ticks)
    except UnbrokenError:
        with result.lock:
            result.unsure.update(map(pair_of, ticks))
        return
    with result.lock:
        for tick, refusal in zip(ticks, errors, strict=True):
            if refusal is None:
                result.accepted[pair_of(tick)] += 1
            else:
                result.refused[refusal.code] += 1


def _post(api: Unbroken, ticks: list[TickInput], key: str) -> list[ApiError | None]:
    if len(ticks) > 1:
        return [result.error for result in many.send(api.transport, TICKS, ticks, (key, Sending()))]
    (tick,) = ticks
    wish = Wish(respond_async=True, idempotency_key=key)
    api.record(tick["participant_id"], tick["streak_code"], wish, timestamp=tick["timestamp"])
    return [None]
