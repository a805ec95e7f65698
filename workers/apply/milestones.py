"""The milestones of a batch: which ones its ticks reach, and whether that is rewarded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from models.db import Connection
from models.ledgers import milestones
from models.ledgers.milestones import MilestoneKey
from models.ledgers.ticks import Tick
from models.rules.milestones import (
    Run,
    best_run,
    newly_reached,
    run_through,
    runs,
    runs_under,
)
from models.rules.streaks import Ranges, Recorded, Rules
from models.rules.terms import Terms
from models.streaks.states import Streak

Repeat = Literal["once", "each_run"]


@dataclass(frozen=True, slots=True)
class Milestone:
    """A threshold of a definition, and its prize."""

    count: int
    badge_code: str | None
    points: int | None
    repeat: Repeat
    is_recorded: bool  # whether everyone who reached it since its definition is on record

    @staticmethod
    def of(stored: dict[str, Any]) -> Milestone:
        """Read it from its stored form."""
        return Milestone(
            stored["count"],
            stored.get("badge_code"),
            stored.get("points"),
            stored.get("repeat") or "once",
            bool(stored.get("is_recorded")),
        )


class Crossing(NamedTuple):
    """A milestone that a tick may have reached for the first time, in a run or ever."""

    milestone: Milestone
    key: MilestoneKey
    period: int  # identifies the run
    run: Run | None  # None: ever

    def is_known(self, periods: set[int]) -> bool:
        """Whether one of these periods has already reached it."""
        if self.run is None:
            return bool(periods)
        return any(self.run.first <= period <= self.run.last for period in periods)


class PeriodsChange(NamedTuple):
    """How a tick changes the recorded periods of a state."""

    before: Ranges
    recorded: Recorded
    rules: Rules
    run: int  # the best run that its period belongs to
    terms: Terms | None = None  # of a state with forgiveness
    terms_before: Terms | None = None  # where they differ

    def is_first(self, count: int) -> bool:
        """Whether a run reaches a count that no run had before. The longest count, never above the
        best run, mostly saves the look at all runs. With forgiveness it alone decides."""
        if count > self.run or count <= self.recorded.before.longest:
            return False
        if self.terms is not None:
            return True
        return best_run(self.before, self.rules) < count

    def runs_before(self) -> list[Run]:
        """The runs before the tick."""
        if self.terms_before is not None:
            return runs_under(self.before, self.terms_before)
        return self.runs_of(self.before)

    def runs_of(self, ranges: Ranges) -> list[Run]:
        """The runs of some recorded periods."""
        if self.terms is None:
            return runs(ranges, self.rules)
        return runs_under(ranges, self.terms)


def change_of(
    before: Ranges, recorded: Recorded, rules: Rules, period: int, terms: Terms | None
) -> PeriodsChange:
    """How recording a period changes a state's recorded periods; `terms` with forgiveness."""
    if terms is not None:
        return _forgiving_change(before, recorded, rules, period, terms)
    if rules.reset_on_miss:
        return PeriodsChange(before, recorded, rules, run_through(recorded.ranges, rules, period))
    return PeriodsChange(before, recorded, rules, recorded.after.longest)


def _forgiving_change(
    before: Ranges, recorded: Recorded, rules: Rules, period: int, terms: Terms
) -> PeriodsChange:
    of_period = (
        run.length for run in runs_under(recorded.ranges, terms) if run.first <= period <= run.last
    )
    return PeriodsChange(before, recorded, rules, next(of_period, 0), terms)


@dataclass
class Milestones:
    """Who reached which milestone, read and written once a batch."""

    reached: dict[MilestoneKey, set[int]] = field(default_factory=dict)  # before this batch
    fresh: dict[MilestoneKey, dict[int, str]] = field(
        default_factory=dict
    )  # to the tick, by period

    def read(self, connection: Connection, crossings: Iterable[Crossing]) -> None:
        """Read who reached which milestone, under the participants' locks."""
        keys = {crossing.key for crossing in crossings}
        if keys:
            self.reached = milestones.reached(connection, keys)

    def reach(self, crossing: Crossing, tick_id: str) -> bool:
        """Record that a tick reached it; False when an earlier tick had."""
        fresh = self.fresh.setdefault(crossing.key, {})
        earlier = {period for period, by in fresh.items() if by != tick_id}
        if crossing.is_known(earlier | self.reached.get(crossing.key, set())):
            return False
        fresh[crossing.period] = tick_id
        return True

    def write(self, connection: Connection) -> None:
        """Write what this batch reached."""
        milestones.write(connection, self.fresh)


def crossings(streak: Streak, tick: Tick, change: PeriodsChange) -> Sequence[Crossing]:
    """The thresholds that a tick may have reached, lowest first: 6 → 8 reaches 7. Pure."""
    key = (tick.tenant_id, tick.participant_id, tick.streak_id)
    found = [
        Crossing(milestone, (*key, milestone.count), _period(tick, run), run)
        for milestone in map(Milestone.of, streak.milestones)
        for run in _runs(milestone, tick, change)
    ]
    return sorted(found, key=lambda crossing: crossing.milestone.count)


def _runs(milestone: Milestone, tick: Tick, change: PeriodsChange) -> Iterator[Run | None]:
    """The runs in which a milestone is reached; None: in all periods together.

    A count that is never lost has one run. A milestone defined after its count was first passed is
    reached when a count passes it again, which is safe where everything is on record.
    """
    if milestone.repeat == "each_run" and change.rules.reset_on_miss:
        yield from newly_reached(
            change.runs_before(), change.runs_of(change.recorded.ranges), milestone.count
        )
        return
    is_again = milestone.is_recorded and tick.previous_count < milestone.count <= tick.new_count
    if is_again or change.is_first(milestone.count):
        yield None


def _period(tick: Tick, run: Run | None) -> int:
    """The tick's period; where a late tick completes another run, the last period of that run."""
    if run is None or run.first <= tick.period <= run.last:
        return tick.period
    return run.last
