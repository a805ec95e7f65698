"""The report of a run: what was done, what was broken, what was found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass

from tests.chaos.checker import Verdict
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis

SHOWN_MAX = 50  # violations in the table: they are mostly the same fault
FAULTS = ("kill", "pause", "died at", "cut", "stall", "jump", "receiver")


@dataclass(frozen=True)
class Report:
    """The figures of a run."""

    seed: int
    seconds: float
    operations: int
    by_outcome: dict[str, dict[str, int]]  # operation → outcome → number
    faults: dict[str, int]
    kills: int
    restarts: int  # of Redis and Postgres
    ticks: int
    awards: int
    movements: int  # of points
    claims: int
    tier_changes: int
    challenges: int  # completed
    facts: int
    deliveries: int
    received: int
    lost: int
    doubled: int
    maybe: int
    bad_inputs: int
    unavailable: int  # 503, while something was away
    errors: int  # 5xx other than that
    log: list[str]
    violations: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.violations

    @staticmethod
    def of(
        plan: tuple[int, float],
        history: History,
        breaking: Nemesis,
        totals: Counter[str],
        verdict: Verdict,
    ) -> Report:
        """Put the figures together."""
        by_outcome: dict[str, dict[str, int]] = {}
        for (operation, outcome), number in sorted(history.counts.items()):
            by_outcome.setdefault(operation, {})[outcome] = number
        garbage = history.counts["garbage", "refused"] + history.counts["bad item", "fail"]
        return Report(
            seed=plan[0],
            seconds=plan[1],
            operations=sum(history.counts.values()),
            by_outcome=by_outcome,
            faults=dict(sorted(breaking.counts.items())),
            kills=_sum(breaking, "kill ") + _sum(breaking, "failpoint "),
            restarts=breaking.counts["kill redis"] + breaking.counts["kill postgres"],
            ticks=totals["ticks"],
            awards=totals["awards"],
            movements=totals["movements"],
            claims=totals["claims"],
            tier_changes=totals["tier_changes"],
            challenges=totals["challenges"],
            facts=totals["facts"],
            deliveries=totals["deliveries"],
            received=totals["received"],
            lost=verdict.lost,
            doubled=verdict.doubled,
            maybe=sum(one.outcome == "maybe" for one in history.writes),
            bad_inputs=garbage,
            unavailable=sum(one.what.startswith("503") for one in history.troubles),
            errors=history.errors,
            log=breaking.log,
            violations=verdict.violations,
        )

    def as_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2)

    def as_table(self) -> str:
        """What a person reads."""
        lines = [f"chaos, seed {self.seed}, {self.seconds:.0f} s"]
        lines += [f"  {name:<28} {text}" for name, text in self._rows()]
        for operation, outcomes in self.by_outcome.items():
            told = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
            lines.append(f"    {operation:<26} {told}")
        lines += [f"    {name:<26} {number}" for name, number in self.faults.items()]
        lines += [f"    {text}" for text in self.log] if self.violations else []
        lines.append(f"  violations: {len(self.violations)}")
        lines += [f"    {text}" for text in self.violations[:SHOWN_MAX]]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str]]:
        names = (
            "operations", "kills", "restarts", "ticks", "awards", "movements", "claims",
            "tier_changes", "challenges", "facts", "deliveries", "received", "maybe",
            "bad_inputs", "unavailable", "errors", "lost", "doubled",
        )  # fmt: skip
        values = asdict(self)
        return [(name.replace("_", " "), f"{values[name]:,}") for name in names]


def _sum(breaking: Nemesis, prefix: str) -> int:
    return sum(number for name, number in breaking.counts.items() if name.startswith(prefix))
