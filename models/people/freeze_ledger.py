"""Where a streak's freezes came from and where they went: derived by the walk, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from models.ledgers.streak_changes import StreakChangeRow
from models.people.streak_seeds import FREEZES
from models.rules.streaks import Explained
from models.streaks.states import Streak

FreezeWhat = Literal["initial", "granted", "bought", "earned", "used"]


@dataclass(frozen=True, slots=True)
class FreezeEntry:
    """Freezes that came or went."""

    what: FreezeWhat
    period: int
    amount: int  # below zero: used
    change: StreakChangeRow | None = None  # that granted or sold them


def entries(
    streak: Streak,
    history: Iterable[Explained],
    changes: Sequence[StreakChangeRow],
    zone: str | None,
) -> Iterator[FreezeEntry]:
    """What happened to the freezes, period by period, from the history of the whole streak.

    What the balance gained beside the grants was earned.
    """
    given = sorted(
        ((change.granted_in(streak.cadence, zone), change) for change in changes
         if change.kind in FREEZES),
        key=lambda grant: grant[0],
    )  # fmt: skip
    balance, is_first = 0, True
    for explained in history:
        if is_first and (initial := _initial(streak)):
            yield FreezeEntry("initial", explained.period, initial)
            balance += initial
        is_first = False
        while given and given[0][0] <= explained.period:
            period, change = given.pop(0)
            yield _given(period, change)
            balance += change.details["amount"]
        if explained.what == "freeze":
            yield FreezeEntry("used", explained.period, -1)
            balance -= 1
        if explained.freezes_remaining > balance:
            yield FreezeEntry("earned", explained.period, explained.freezes_remaining - balance)
        balance = explained.freezes_remaining
    yield from (_given(period, change) for period, change in given)


def _initial(streak: Streak) -> int:
    forgiveness = streak.rules.forgiveness
    return 0 if forgiveness is None else forgiveness.freezes.initial


def _given(period: int, change: StreakChangeRow) -> FreezeEntry:
    what: FreezeWhat = "granted" if change.kind == "freeze_granted" else "bought"
    return FreezeEntry(what, period, change.details["amount"], change)
