"""Tiers: the one that points lead to, and the next one (contract §6). Pure.

A tier is kept until a higher one is reached or another one is assigned: spent points and raised
thresholds lower no participant's tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Rung(Protocol):
    """A tier that points lead to."""

    @property
    def level(self) -> int:
        """Higher is better."""

    @property
    def min_points(self) -> int | None:
        """Points ever earned that lead to it; None: no points do."""


R = TypeVar("R", bound=Rung)


def reached(ladder: Sequence[R], level: int | None, earned: int) -> R | None:
    """The highest rung above a level (None: below all) that the points ever earned lead to."""
    above = [
        tier
        for tier in ladder
        if tier.min_points is not None and tier.min_points <= earned and _is_above(tier, level)
    ]
    return max(above, key=lambda tier: tier.level, default=None)


def following(ladder: Sequence[R], level: int | None) -> R | None:
    """The lowest rung above a level that points lead to."""
    above = [tier for tier in ladder if tier.min_points is not None and _is_above(tier, level)]
    return min(above, key=lambda tier: tier.level, default=None)


def _is_above(rung: Rung, level: int | None) -> bool:
    return level is None or rung.level > level
