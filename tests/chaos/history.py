"""The history: what was sent, and what the sender knows of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

# ok: accepted. fail: refused, or never sent. maybe: no answer, or a 5xx after it had been sent.
Outcome = Literal["ok", "fail", "maybe"]
Kind = Literal["tick", "award", "points", "claim", "assignment", "change"]


@dataclass(slots=True)
class Write:
    """One write that a client meant to happen once."""

    kind: Kind
    side: int  # the tenant's id: one mode of it
    token: str  # in its metadata: no other write has it
    participant: str
    code: str
    amount: int = 0  # of points; below zero when they are deducted
    occurred_us: int | None = None  # None: when the API took it in
    timezone: str | None = None
    outcome: Outcome = "fail"
    refusal: str | None = None  # the code with which it was refused
    id: str | None = None  # once accepted
    result: dict[str, Any] | None = None  # what was answered, if the worker was waited for


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that was answered 503, or not at all."""

    began: float  # monotonic seconds
    ended: float
    what: str


@dataclass
class History:
    """What one client did. Clients run side by side: each has its own, merged at the end."""

    writes: list[Write] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by operation and outcome
    troubles: list[Trouble] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    errors: int = 0  # answers of 500 and above, but 503
    changes: Counter[tuple[int, str]] = field(default_factory=Counter)  # side, outcome

    def count(self, operation: str, outcome: str, number: int = 1) -> None:
        """Count operations."""
        self.counts[operation, outcome] += number

    def trouble(self, began: float, what: str) -> None:
        """Note a request that got nowhere."""
        self.troubles.append(Trouble(began, time.monotonic(), what))

    def absorb(self, other: History) -> None:
        """Add what another client did."""
        self.writes += other.writes
        self.counts += other.counts
        self.troubles += other.troubles
        self.violations += other.violations
        self.errors += other.errors
        self.changes += other.changes
