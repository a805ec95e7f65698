"""What reading a leaderboard costs with few and with many on it, and how fast it follows."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from models.db import reading, transaction
from models.leaderboards import definitions, entries
from models.leaderboards.definitions import Leaderboard
from models.rules.leaderboards import Score
from tests.bench import workload
from tests.bench.measures.measure_apply import seconds, seed
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from workers.maintenance.leaderboards import RUN_SECONDS, LeaderboardUpdater

FEW, MANY = 10_000, 1_000_000
PORTION = 10_000
READS = 400
BOARD = {
    "code": "board", "name": "Board", "description": None, "metric": "points",
    "streak_code": None, "window_days": 30, "is_active": False,
}  # fmt: skip


def boards(stack: Stack) -> list[Row]:
    """Reads of the top 20 and of a rank; what a follower does a second; the drain beside it."""
    few, many = _filled(stack, "few", FEW), _filled(stack, "many", stack.some(MANY))
    tops: dict[str, list[float]] = {"few": [], "many": []}
    ranks: dict[str, list[float]] = {"few": [], "many": []}
    for _ in stack.rounds(5):
        for name, board in (("few", few), ("many", many)):
            tops[name].append(_tops(stack, board))
            ranks[name].append(_ranks(stack, board))
    drained = _drained(stack)
    return [
        Row("top 20 of a leaderboard with 1,000,000 on it", "with 10,000", "/s",
            tops["many"], tops["few"], at_least=0.8),
        Row("a participant's rank among 1,000,000", "among 10,000", "/s",
            ranks["many"], ranks["few"], at_least=0.8),
        Row("ticks applied by one drain while a leaderboard follows", "without one", "/s",
            drained.beside, drained.alone,
            note="the follower runs beside the drain on the same two cores"),
        Row("participants that the follower looks at meanwhile", "ticks applied beside it", "/s",
            drained.looked, drained.beside,
            note="one look is enough for any number of ticks of the same participant"),
    ]  # fmt: skip


def _filled(stack: Stack, name: str, count: int) -> Leaderboard:
    """A leaderboard with so many, of scores in an order of chance."""
    crowd = workload.gather(stack.engine, f"boards-{name}", 1)
    chance, tenant_id = random.Random(count), crowd.tenant.id
    with transaction(stack.engine) as session:
        board = definitions.definitions.create(session, tenant_id, dict(BOARD))
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id)"
                " SELECT :id, 'user_' || n FROM generate_series(1, :count) n"
            ),
            {"id": tenant_id, "count": count},
        )
    after = 0
    while True:
        with transaction(stack.engine) as session:
            some = entries.after(session, tenant_id, after, PORTION)
            if not some:
                break
            scores = {who: Score(chance.randrange(1, 2_000_000), 99_999) for who in some}
            entries.write(session, board, scores)
            after = some[-1]
    with stack.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        session.execute(sa.text("VACUUM ANALYZE leaderboard_entries, leaderboard_counts"))
    return board


def _tops(stack: Stack, board: Leaderboard) -> float:
    with reading(stack.engine) as session:
        started = time.perf_counter()
        for _ in range(READS):
            definitions.top(session, board, 20)
        return READS / (time.perf_counter() - started)


def _ranks(stack: Stack, board: Leaderboard) -> float:
    chance = random.Random(1)
    with reading(stack.engine) as session:
        started = time.perf_counter()
        for _ in range(READS):
            definitions.rank(session, board, chance.randrange(1, 2_000_000))
        return READS / (time.perf_counter() - started)


@dataclass
class Followed:
    """How fast a full intake is drained without and with a follower, and what that looks at."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    looked: list[float] = field(default_factory=list)  # participants a second of its own time


def _drained(stack: Stack) -> Followed:
    crowd = workload.gather(stack.engine, "boards-drain", stack.some(10_000))
    seed(stack.engine, crowd)
    values = BOARD | {"metric": "streak", "streak_code": workload.CODE, "is_active": True}
    found = Followed()
    for nth in stack.rounds(4):
        found.alone.append(_paced(stack, crowd))
        with transaction(stack.engine) as session:
            definitions.definitions.create(
                session, crowd.tenant.id, values | {"code": f"board_{nth}"}
            )
        follower = LeaderboardUpdater(stack.engine, facts_days=90)
        follower.run(60)  # built
        with _following(follower, found):
            found.beside.append(_paced(stack, crowd))
        with transaction(stack.engine) as session:
            session.execute(sa.text("UPDATE leaderboards SET is_active = false"))
    return found


def _paced(stack: Stack, crowd: Crowd) -> float:
    """Ticks a second from a full intake."""
    count = stack.some(40_000)
    workload.fill(stack.intake, crowd, count)
    with stack.drain():
        return count / seconds(stack.wait_drained)


@contextmanager
def _following(follower: LeaderboardUpdater, found: Followed) -> Iterator[None]:
    """As upkeep does: 0.8 s of each second, for as long as the block runs."""
    over, looked, busy = threading.Event(), 0, 0.0

    def follow() -> None:
        nonlocal looked, busy
        while not over.is_set():
            started = time.perf_counter()
            looked += follower.run(RUN_SECONDS)
            busy += time.perf_counter() - started
            over.wait(1 - RUN_SECONDS)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    found.looked.append(looked / busy)
