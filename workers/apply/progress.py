"""Progress of a batch's ticks towards the targets of their streaks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from models.db import Connection
from models.ledgers import ticks
from models.rules.forgiveness import grace_at
from models.rules.periods import day_at, days_before, period_at
from models.rules.streaks import Recorded, StreakTotals
from models.rules.targets import PeriodTarget, Progress, TargetTick, advanced
from models.streaks import progress
from models.streaks.progress import PeriodKey
from models.streaks.states import Streak, StreakState
from workers.apply.batch import Batch
from workers.intake.messages import TickV1


@dataclass
class ProgressOfBatch:
    """The progress of the periods that a batch has ticks for."""

    periods: dict[PeriodKey, Progress] = field(default_factory=dict)
    changed: dict[PeriodKey, Progress] = field(default_factory=dict)

    def read(
        self,
        connection: Connection,
        batch: Batch,
        definitions: Mapping[tuple[int, int], Streak],
        targeted: Iterable[TickV1],
    ) -> None:
        """Read the progress of the periods of some ticks, under their participants' locks."""
        keys = {
            _key(message, definitions[message.tenant_id, message.streak_id], batch)
            for message in targeted
        }
        self.periods = progress.read(connection, keys)

    def advance(
        self,
        key: PeriodKey,
        target: PeriodTarget,
        message: TickV1,
        streak: Streak,
        zone: str | None,
    ) -> Progress:
        """Add one tick to its period."""
        day = _nth_day(message.occurred_us, zone, streak, key[3])
        tick = TargetTick(message.occurred_us, message.timezone, day, message.value or 0)
        after = advanced(self.periods.get(key), target, tick)
        self.periods[key] = self.changed[key] = after
        return after

    def write(self, connection: Connection) -> None:
        """Write what has changed."""
        if self.changed:
            progress.write(connection, self.changed)


def _key(message: TickV1, streak: Streak, batch: Batch) -> PeriodKey:
    participant = batch.participant(message)
    zone = message.counted_timezone or streak.zone(message.timezone, participant.timezone)
    period = period_at(streak.cadence, message.occurred_us, zone)
    return message.tenant_id, participant.id, streak.id, period


def _nth_day(instant_us: int, zone: str | None, streak: Streak, period: int) -> int:
    """The day of an instant within a period, from 0."""
    day = day_at(instant_us, zone, streak.cadence.day_starts_us)
    return day - days_before(streak.cadence, period)


def added_up(
    connection: Connection,
    key: PeriodKey,
    streak: Streak,
    participant_zone: str | None,
    tick_ids: Collection[str],
) -> Progress | None:
    """The progress of a period, added up again of the ticks that are left; None without any."""
    target = streak.target
    after: Progress | None = None
    for instant_us, own_zone, value in ticks.values_of(connection, key[0], tick_ids):
        day = _nth_day(instant_us, streak.zone(own_zone, participant_zone), streak, key[3])
        tick = TargetTick(instant_us, own_zone, max(day, 0), value or 0)
        if target is not None:
            after = advanced(after, target, tick)
    return after


def unrecorded(streak: Streak, state: StreakState | None) -> Recorded:
    """The effect of a tick whose period has not reached its target: none."""
    if state is not None:
        return Recorded("progressed", state.ranges, state.totals, state.totals)
    nothing = StreakTotals(None, 0, 0, grace_at(streak.rules, 0))
    return Recorded("progressed", (), nothing, nothing)
