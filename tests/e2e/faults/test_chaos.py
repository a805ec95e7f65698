"""Chaos with fixed seeds ends clean, and the checker sees what it is there to see.

`make check` runs one seed; `make soak` runs the others and the controls of the checker.
"""

from __future__ import annotations

import pytest

from models.db import transaction
from tests.chaos.nemesis import Fault
from tests.chaos.run import Plan, run
from tests.chaos.stack import Stack

pytestmark = [pytest.mark.alone, pytest.mark.promise("P1")]

SECONDS = 30.0
CONTROL_SECONDS = 8.0
FORGETTING_SECONDS = 15.0  # until a count depends on a protected day
TWICE_SECONDS = 15.0  # the second turn comes after 5: then who had too little may have enough


@pytest.mark.timeout(420)
@pytest.mark.parametrize("seed", [11, pytest.param(23, marks=pytest.mark.soak)])
def test_nothing_is_lost_or_doubled_whatever_is_killed_cut_or_stopped(seed: int) -> None:
    report = run(Plan(seed, SECONDS))
    assert report.violations == [], report.as_table()
    assert (report.lost, report.doubled, report.errors) == (0, 0, 0)
    assert report.operations > 1_000
    assert report.bad_inputs > 100
    assert report.ticks > 1_000
    assert report.kills > 0
    assert report.received >= report.deliveries > 500
    assert report.movements > 100
    assert report.claims > 20
    assert report.tier_changes > 20
    assert report.challenges > 0


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_checker_sees_what_is_lost_by_acknowledging_before_the_commit() -> None:
    sabotage = {"UNBROKEN_SABOTAGE": "ack_before_commit"}
    report = run(Plan(1, CONTROL_SECONDS, sabotage, faults=_deaths("drain.mid_sql")))
    assert report.lost > 0, report.as_table()
    assert report.faults["died at drain.mid_sql"] > 0


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_checker_sees_what_is_doubled_without_the_ledgers_unique_keys() -> None:
    faults = _deaths("drain.after_commit_before_ack")
    report = run(Plan(2, CONTROL_SECONDS, before=_drop_the_keys, faults=faults))
    assert report.doubled > 0, report.as_table()
    assert report.faults["died at drain.after_commit_before_ack"] > 0


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_checker_sees_a_second_decision_on_what_was_refused() -> None:
    """A deduction that was refused finds enough when its entry is handed out again."""
    sabotage = {"UNBROKEN_SABOTAGE": "hand_out_twice,forget_refusals"}
    report = run(Plan(3, TWICE_SECONDS, sabotage, faults=[]))
    assert report.doubled > 0, report.as_table()
    assert any("was decided on 2 times" in one for one in report.violations), report.as_table()


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_what_is_handed_out_twice_is_decided_on_once() -> None:
    report = run(Plan(3, TWICE_SECONDS, {"UNBROKEN_SABOTAGE": "hand_out_twice"}, faults=[]))
    assert report.violations == [], report.as_table()
    assert report.movements > 100


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_checker_sees_a_drain_that_forgets_protections() -> None:
    sabotage = {"UNBROKEN_SABOTAGE": "forget_protections"}
    report = run(Plan(4, FORGETTING_SECONDS, sabotage, faults=[]))
    assert any("the oracle says" in one for one in report.violations), report.as_table()
    assert (report.lost, report.doubled) == (0, 0)


def _deaths(failpoint: str) -> list[Fault]:
    """Both drains die there, under load."""
    return [
        Fault(1.0, 1.0, "failpoint", "drain", failpoint),
        Fault(1.5, 1.0, "failpoint", "drain-2", failpoint),
    ]


def _drop_the_keys(stack: Stack) -> None:
    """Of every ledger: a repeated award alone would make the drain ask for repeated ticks, too."""
    with transaction(stack.engine) as session:
        for ledger in (
            "ticks",
            "awards",
            "point_transactions",
            "tier_changes",
            "reward_claims",
            "rejections",
        ):
            session.exec_driver_sql(f"ALTER TABLE {ledger} DROP CONSTRAINT {ledger}_pkey")
