"""The walk of one state: plain where nothing is forgiven, else under its terms (contract §7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

from models.rules import forgiveness, streaks
from models.rules.periods import Cadence, period_at
from models.rules.streaks import Explained, Live, Protection, Ranges, Rules, StreakTotals, add_range
from models.rules.terms import BEGINNING, Terms
from models.streaks.extras import Extras


class WalkedDefinition(Protocol):
    """The fields of a definition that decide on a state."""

    @property
    def cadence(self) -> Cadence:
        """When its periods begin."""

    @property
    def rules(self) -> Rules:
        """Its rules about gaps."""

    @property
    def outages(self) -> Ranges:
        """Spans (microseconds) whose periods are protected for every participant."""


class WalkedState(Protocol):
    """The fields of a state that a walk reads and sets."""

    ranges: Ranges
    totals: StreakTotals
    extras: Extras | None


def terms_of(definition: WalkedDefinition, extras: Extras | None, zone: str | None) -> Terms | None:
    """The terms of a state on the calendar of `zone`; None for a plain one."""
    is_plain = definition.rules.forgiveness is None and not definition.outages
    if is_plain and (extras is None or extras.is_empty):
        return None
    own = extras or Extras()
    protections = own.protections
    if definition.outages:
        cause: Protection = "outage"
        protections += ((cause, _outages(definition.cadence, definition.outages, zone)),)
    versions = ((BEGINNING, definition.rules),)
    return Terms(definition.cadence, versions, protections, own.grants, own.plenty)


@lru_cache(maxsize=4_096)  # a few spans in each of 400 zones
def _outages(cadence: Cadence, spans: Ranges, zone: str | None) -> Ranges:
    """The periods that overlap an outage."""
    ranges: Ranges = ()
    for starts_us, ends_us in spans:
        first, last = period_at(cadence, starts_us, zone), period_at(cadence, ends_us - 1, zone)
        ranges = add_range(ranges, first, last + 1)
    return ranges


def rewalk(definition: WalkedDefinition, state: WalkedState, zone: str | None) -> None:
    """Walk a state's sets again."""
    terms = terms_of(definition, state.extras, zone)
    if terms is None:
        state.totals, state.extras = streaks.walk(state.ranges, definition.rules), None
    else:
        settle(state, forgiveness.walk(state.ranges, terms), terms, zone)


def settle(state: WalkedState, totals: StreakTotals, terms: Terms, zone: str | None) -> None:
    """Give a state the totals of a walk under terms, on the calendar of `zone`."""
    state.totals = totals
    if totals.balance is not None:
        ahead = forgiveness.breaks_at(totals, terms, totals.last or 0)
        state.extras = (state.extras or Extras()).walked(totals.balance, zone, ahead)


def live(definition: WalkedDefinition, state: WalkedState, zone: str | None, current: int) -> Live:
    """A state as of the current period."""
    terms = terms_of(definition, state.extras, zone)
    if terms is None:
        return streaks.live(state.totals, definition.rules, current)
    return forgiveness.live(state.totals, terms, current)


def explain(
    definition: WalkedDefinition,
    state: WalkedState,
    zone: str | None,
    current: int,
    since: int = BEGINNING,
) -> Iterator[Explained]:
    """Every period from the first recorded one to the current one, in order; those before `since`
    may be left out."""
    terms = terms_of(definition, state.extras, zone)
    if terms is None:
        return streaks.explain(state.ranges, definition.rules, current, since)
    return forgiveness.explain(state.ranges, terms, current, since)


def explained(
    definition: WalkedDefinition, state: WalkedState, zone: str | None, period: int, current: int
) -> Explained | None:
    """One period of a state as of the current one; None where the walk does not reach it."""
    every = explain(definition, state, zone, current, since=period)
    return next((entry for entry in every if entry.period == period), None)
