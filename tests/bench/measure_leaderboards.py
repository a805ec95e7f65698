"""What reading a leaderboard costs with few and with many on it, and how fast it follows."""

from __future__ import annotations

import random
import time

import sqlalchemy as sa

from models import leaderboards, standings
from models.db import reading, transaction
from models.leaderboards import Leaderboard
from models.rules.leaderboards import Score
from tests.bench import workload
from tests.bench.measure_apply import seconds, seed
from tests.bench.results import Row
from tests.bench.stack import Stack
from tests.bench.workload import Crowd
from workers.leaderboards import Follower
from workers.stream import depth

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
    with_boards, without = _drained(stack)
    return [
        Row("top 20 of a leaderboard with 1,000,000 on it", "with 10,000", "/s",
            tops["many"], tops["few"], at_least=0.8),
        Row("a participant's rank among 1,000,000", "among 10,000", "/s",
            ranks["many"], ranks["few"], at_least=0.8),
        Row("ticks applied by one drain while a leaderboard follows", "without one", "/s",
            with_boards, without,
            note="the follower runs beside the drain on the same two cores"),
    ]  # fmt: skip


def _filled(stack: Stack, name: str, count: int) -> Leaderboard:
    """A leaderboard with so many, of scores in an order of chance."""
    crowd = workload.gather(stack.engine, f"boards-{name}", 1)
    chance, tenant_id = random.Random(count), crowd.tenant.id
    with transaction(stack.engine) as session:
        board = leaderboards.create(session, tenant_id, dict(BOARD))
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
            some = standings.after(session, tenant_id, after, PORTION)
            if not some:
                break
            scores = {who: Score(chance.randrange(1, 2_000_000), 99_999) for who in some}
            standings.write(session, board, scores)
            after = some[-1]
    with stack.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        session.execute(sa.text("VACUUM ANALYZE leaderboard_entries, leaderboard_counts"))
    return board


def _tops(stack: Stack, board: Leaderboard) -> float:
    with reading(stack.engine) as session:
        started = time.perf_counter()
        for _ in range(READS):
            leaderboards.top(session, board, 20)
        return READS / (time.perf_counter() - started)


def _ranks(stack: Stack, board: Leaderboard) -> float:
    chance = random.Random(1)
    with reading(stack.engine) as session:
        started = time.perf_counter()
        for _ in range(READS):
            leaderboards.rank(session, board, chance.randrange(1, 2_000_000))
        return READS / (time.perf_counter() - started)


def _drained(stack: Stack) -> tuple[list[float], list[float]]:
    """How fast a full intake is drained with and without a follower beside it."""
    crowd = workload.gather(stack.engine, "boards-drain", stack.some(10_000))
    seed(stack.engine, crowd)
    values = BOARD | {"metric": "streak", "streak_code": workload.CODE, "is_active": True}
    followed: list[float] = []
    alone: list[float] = []
    for _ in stack.rounds(4):
        alone.append(_paced(stack, crowd, None))
        with transaction(stack.engine) as session:
            session.execute(sa.text("UPDATE leaderboards SET is_active = false"))
            code = f"board_{len(followed)}"
            leaderboards.create(session, crowd.tenant.id, values | {"code": code})
        follower = Follower(stack.engine, facts_days=90)
        follower.run(60)
        followed.append(_paced(stack, crowd, follower))
        with transaction(stack.engine) as session:
            session.execute(sa.text("UPDATE leaderboards SET is_active = false"))
    return followed, alone


def _paced(stack: Stack, crowd: Crowd, follower: Follower | None) -> float:
    """Ticks a second from a full intake; a follower runs as upkeep does, 0.8 s of each second."""
    count = stack.some(40_000)
    workload.fill(stack.intake, crowd, count)
    with stack.drain():
        started = time.perf_counter()
        if follower is None:
            return count / seconds(stack.wait_drained)
        while depth(stack.intake.client):
            follower.run(0.8)
            time.sleep(0.2)
        return count / (time.perf_counter() - started)
