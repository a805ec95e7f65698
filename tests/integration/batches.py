"""Ticks as the intake appends them, and the rows that they must become."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import redis
import sqlalchemy as sa

from models import clock, ids
from models.db import Engine, reading, transaction
from models.definitions import badges
from models.streaks import states as streaks
from models.streaks.states import Streak, parse_ranges
from settings import Settings
from tests.oracle import replay
from workers.intake import redis_keys
from workers.intake.messages import AwardV1, Message, PointsV1, RedemptionV1, TickV1, encode
from workers.intake.stream import STREAMS

ROOT = Path(__file__).resolve().parents[2]
DAY_US = 86_400_000_000
DIED = 137  # the exit code at a failpoint: that of kill -9
PATIENCE_SECONDS = 60.0  # ends a test that hangs; nothing is measured by it

DAILY: dict[str, Any] = {
    "code": "daily", "name": "Daily", "description": None, "period": "daily", "grace_periods": 1,
    "reset_on_miss": True, "is_active": True, "boundary": "utc", "milestones": [],
}  # fmt: skip
WEEKLY = DAILY | {"code": "weekly", "period": "weekly", "grace_periods": 0}
HELD = DAILY | {"code": "held", "reset_on_miss": False, "boundary": "participant"}
MONTHLY = DAILY | {"code": "monthly", "period": "monthly", "grace_periods": 2}


def make_streak(engine: Engine, tenant_id: int, values: dict[str, Any] = DAILY) -> Streak:
    """A definition."""
    with transaction(engine) as session:
        return streaks.definitions.create(session, tenant_id, values)


def tick(streak: Streak, participant: str = "user_42", **values: Any) -> TickV1:
    """A tick of now, with a fresh id."""
    now = clock.now_us()
    plain = TickV1(streak.tenant_id, str(ids.uuid7(now)), participant, streak.id, now)
    return replace_message(plain, **values)


def make_badge(engine: Engine, tenant_id: int, code: str = "power_user", **values: Any) -> str:
    """A badge definition; returns its id."""
    plain = {"code": code, "name": "Power User", "description": None, "icon_url": None}
    more = {"badge_color": None, "rarity": "rare", "category": None, "is_active": True}
    rest = {"is_hidden": False, "display_order": 0}
    with transaction(engine) as session:
        return str(badges.definitions.create(session, tenant_id, plain | more | rest | values).id)


def award(tenant_id: int, badge_id: str, participant: str = "user_42", **values: Any) -> AwardV1:
    """An award of now, with a fresh id."""
    now = clock.now_us()
    plain = AwardV1(tenant_id, str(ids.uuid7(now)), participant, badge_id, now)
    return replace_message(plain, **values)


M = TypeVar("M", TickV1, AwardV1, PointsV1, RedemptionV1)


def replace_message(message: M, **values: Any) -> M:
    """The message with other values."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return type(message)(**fields | values)


def post(client: redis.Redis, messages: Iterable[Message | bytes], tenant_id: int = 0) -> None:
    """Append entries to the tenant's stream, as the script does; bytes stand for themselves."""
    pipeline = client.pipeline(transaction=False)
    for message in messages:
        text = message if isinstance(message, bytes) else encode(message)
        owner = tenant_id if isinstance(message, bytes) else message.tenant_id
        pipeline.xadd(redis_keys.stream(redis_keys.stream_of(owner)), {"m": text})
    pipeline.execute()


def pending(client: redis.Redis) -> int:
    """Entries that a drain was given and has not acknowledged."""
    found: list[dict[str, Any]] = [client.xpending(stream, redis_keys.GROUP) for stream in STREAMS]
    return sum(one["pending"] for one in found)


def days(streak: Streak, number: int, participant: str = "user_42") -> list[TickV1]:
    """Ticks of so many days that end today, in order."""
    now = clock.now_us()
    return [
        tick(streak, participant, occurred_us=now - (number - 1 - nth) * DAY_US)
        for nth in range(number)
    ]


# -- a history -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """A tick of a history, whoever its tenant is."""

    participant: str
    code: str
    occurred_us: int
    timezone: str | None


ZONES = (None, None, "UTC", "Pacific/Auckland", "America/Los_Angeles", "Asia/Kathmandu")


def history(random: Random, count: int, people: int = 12) -> list[Planned]:
    """Ticks of two months in any order, many of them late, repeated or from far zones."""
    now = clock.now_us()
    planned = [
        Planned(
            f'user/{random.randrange(people)} „é“\\"{{}},',
            random.choice(("daily", "weekly", "held", "monthly")),
            now - random.randrange(60 * DAY_US),
            random.choice(ZONES),
        )
        for _ in range(count)
    ]
    return planned + random.choices(planned, k=count // 10)


def messages_of(planned: Iterable[Planned], definitions: dict[str, Streak]) -> list[TickV1]:
    """The history as one tenant's ticks, in that order."""
    return [
        tick(
            definitions[one.code],
            one.participant,
            occurred_us=one.occurred_us,
            timezone=one.timezone,
        )
        for one in planned
    ]


def all_streaks(engine: Engine, tenant_id: int) -> dict[str, Streak]:
    """One definition of each kind."""
    kinds = (DAILY, WEEKLY, HELD, MONTHLY)
    return {one["code"]: make_streak(engine, tenant_id, one) for one in kinds}


def period_of(code: str, occurred_us: int, timezone: str | None) -> int:
    """The period of an instant, said with the standard library alone."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=occurred_us)
    day = instant.astimezone(ZoneInfo(timezone or "UTC")).date()
    if code == "monthly":
        return (day.year - 1970) * 12 + day.month - 1
    days = (day - date(1970, 1, 1)).days
    return (days + 3) // 7 if code == "weekly" else days


# -- what became of it -----------------------------------------------------------------------

Key = tuple[str, str]  # participant, streak code


@dataclass(frozen=True)
class State:
    """A state row, without the numbers that differ from tenant to tenant."""

    recorded: frozenset[int]
    count: int
    longest: int
    grace_remaining: int
    last_recorded_at: datetime
    last_timezone: str | None


@dataclass(frozen=True)
class Rows:
    """Everything that a tenant's ticks left behind."""

    states: dict[Key, State]
    outcomes: dict[Key, Counter[str]]
    tick_ids: list[str]
    facts: dict[str, list[int]]  # the sequences of each participant, in order
    recorded: dict[str, int]  # those of them that tell of a tick
    events: dict[str, int]


_JOINED = "JOIN participants p ON p.tenant_id = t.tenant_id AND p.id = t.participant_id"
_NAMED = f"{_JOINED} JOIN streaks s ON s.tenant_id = t.tenant_id AND s.id = t.streak_id"
_MINE = "WHERE t.tenant_id = :tenant_id"


def rows(engine: Engine, tenant_id: int) -> Rows:
    """Read it all."""
    outcomes: dict[Key, Counter[str]] = {}
    tick_ids = []
    for who, code, outcome, tick_id in _select(
        engine, f"SELECT external_id, code, outcome, t.id::text FROM ticks t {_NAMED}", tenant_id
    ):
        outcomes.setdefault((who, code), Counter())[outcome] += 1
        tick_ids.append(tick_id)
    return Rows(
        _states(engine, tenant_id),
        outcomes,
        sorted(tick_ids),
        sequences(engine, tenant_id),
        Counter(
            who
            for who, kind in _select(
                engine, f"SELECT external_id, type FROM facts t {_JOINED}", tenant_id
            )
            if kind == "behavior.streak_recorded"
        ),
        dict(_select(engine, "SELECT external_id, total_events FROM participants t", tenant_id)),
    )


def _states(engine: Engine, tenant_id: int) -> dict[Key, State]:
    statement = f"""
        SELECT external_id, code, recorded::text, current_count, longest_count, grace_remaining,
          last_recorded_at, last_timezone FROM streak_states t {_NAMED}
    """
    return {
        (who, code): State(_set(recorded), *rest)
        for who, code, recorded, *rest in _select(engine, statement, tenant_id)
    }


def _set(recorded: str) -> frozenset[int]:
    ranges = parse_ranges(recorded)
    return frozenset(period for start, end in ranges for period in range(start, end))


def sequences(engine: Engine, tenant_id: int) -> dict[str, list[int]]:
    """The sequence numbers of each participant's facts, in order."""
    found: dict[str, list[int]] = {}
    statement = f"SELECT external_id, sequence FROM facts t {_JOINED}"
    for who, sequence in _select(engine, statement, tenant_id):
        found.setdefault(who, []).append(sequence)
    return {who: sorted(numbers) for who, numbers in found.items()}


def _select(engine: Engine, statement: str, tenant_id: int) -> Iterator[Any]:
    with reading(engine) as session:
        found = session.execute(sa.text(f"{statement} {_MINE}"), {"tenant_id": tenant_id})
        return iter([tuple(row) for row in found])


def count(engine: Engine, table: str, tenant_id: int) -> int:
    """How many rows of a table are the tenant's."""
    return int(next(_select(engine, f"SELECT count(*) FROM {table} t", tenant_id))[0])


def scalar(engine: Engine, statement: str) -> int:
    """The one number that a statement yields."""
    with reading(engine) as session:
        return int(session.execute(sa.text(statement)).scalar_one())


# -- what it must be -------------------------------------------------------------------------


def assert_correct(found: Rows, planned: Sequence[Planned], tick_ids: Collection[str]) -> None:
    """The rows are what the oracle says of the set of ticks, each of which was applied once."""
    assert found.tick_ids == sorted(tick_ids)
    assert_states(found, planned)
    assert {key: seen.total() for key, seen in found.outcomes.items()} == Counter(
        (one.participant, one.code) for one in planned
    )
    assert found.events == Counter(one.participant for one in planned)
    assert_one_fact_a_change(found)


def assert_states(found: Rows, planned: Sequence[Planned]) -> None:
    """The states are the oracle's for the set of ticks, however often each of them came."""
    by_key: dict[Key, list[Planned]] = {}
    for one in planned:
        by_key.setdefault((one.participant, one.code), []).append(one)
    assert found.states == {key: _expected(key[1], ticks) for key, ticks in by_key.items()}


def _expected(code: str, ticks: Sequence[Planned]) -> State:
    values = {"daily": DAILY, "weekly": WEEKLY, "held": HELD, "monthly": MONTHLY}[code]
    periods = {period_of(code, one.occurred_us, one.timezone) for one in ticks}
    end = replay(periods, values["grace_periods"], values["reset_on_miss"])
    last = max(ticks, key=lambda one: (one.occurred_us, one.timezone or ""))
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=last.occurred_us)
    return State(frozenset(periods), end.count, end.longest, end.left, at, last.timezone)


def assert_one_fact_a_change(found: Rows) -> None:
    """As many facts of ticks as ticks that were no repetition; all facts numbered without gaps."""
    changes: Counter[str] = Counter()
    for (who, code), seen in found.outcomes.items():
        changed = seen.total() - seen["repeated"]
        assert seen["started"] == 1
        assert changed == len(found.states[who, code].recorded)
        changes[who] += changed
    assert found.recorded == changes
    for numbers in found.facts.values():
        assert numbers == list(range(1, len(numbers) + 1))


def assert_applied_once(engine: Engine, streak: Streak, messages: list[TickV1]) -> None:
    """Each of these ticks of different days stands in the ledger once, with one fact each."""
    found = rows(engine, streak.tenant_id)
    assert found.tick_ids == sorted(message.id for message in messages)
    changes = {key[0]: seen.total() for key, seen in found.outcomes.items()}
    assert found.facts == {who: list(range(1, n + 1)) for who, n in changes.items()}
    assert found.events == changes


# -- a drain that can be killed --------------------------------------------------------------

_DRAIN = (
    "from workers.app import context; from workers.tasks import run_drain; run_drain(context())"
)


def start_drain(settings: Settings, seconds: float, **env: str) -> subprocess.Popen[bytes]:
    """A drain as a process of its own, for so long; `failpoints` among the values dies there."""
    urls = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    more = {f"UNBROKEN_{name.upper()}": value for name, value in env.items()}
    more["UNBROKEN_ENVIRONMENT"] = "test"
    return subprocess.Popen(
        [sys.executable, "-c", _DRAIN],
        cwd=ROOT,
        env={**os.environ, **urls, **more, "UNBROKEN_DRAIN_RUN_SECONDS": str(seconds)},
    )


def run_drain_until_death(settings: Settings, failpoint: str) -> None:
    """Let a drain read what there is and die at a failpoint."""
    process = start_drain(settings, PATIENCE_SECONDS, failpoints=failpoint)
    assert process.wait(PATIENCE_SECONDS) == DIED


def short(settings: Settings, **values: Any) -> Settings:
    """The settings with other values."""
    return replace(settings, **values)
