"""Chaos' checker of the books finds nothing in books that are right, and each thing that is not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from models.identity.tenants import Tenant
from tests.chaos import bookkeeping
from tests.chaos.books import Books, Change, Movement, Redemption, Sums
from tests.chaos.checker import Verdict
from tests.chaos.found import FactRow, Found
from tests.chaos.history import Write
from tests.chaos.scene import Side

ANN = "ann"
SIDE = Side(Tenant(7, "acme", "live", True, 0, b""), "", "", "", {ANN: None}, "gone")
WRITES = [
    Write("points", 7, "t1", ANN, "award", 150, outcome="ok", id="a1"),
    Write("points", 7, "t2", ANN, "deduct", -30, outcome="ok", id="d1",
          result={"new_balance": 165}),
    Write("claim", 7, "t3", ANN, "mug", outcome="ok", id="c1"),
    Write("assignment", 7, "t4", ANN, "guest", outcome="ok", id="g1"),
    Write("points", 7, "t5", ANN, "deduct", -999, outcome="ok", id="r1"),
    Write("points", 7, "t6", ANN, "deduct", -999, outcome="fail", refusal="insufficient_points"),
    Write("points", 7, "t7", ANN, "award", 1, outcome="maybe"),
]  # fmt: skip
AWARD = Movement("a1", ANN, "award", 150, 150, None, "t1")
PRIZE = Movement("x1", ANN, "challenge", 45, 195, "collector", None)
DEDUCTION = Movement("d1", ANN, "deduct", -30, 165, None, "t2")
COST = Movement("c1", ANN, "claim", -25, 140, "mug", None)
CLAIM = Redemption("c1", ANN, "mug", 25, 140, "t3")
BRONZE = Change("a1", ANN, "bronze", None, "points", None)
GUEST = Change("g1", ANN, "guest", "bronze", "assigned", "t4")
BOOKS = Books(
    [AWARD, PRIZE, DEDUCTION, COST],
    [CLAIM],
    [BRONZE, GUEST],
    {ANN: Sums(195, 55, 1, "guest")},
    {"mug": (20, 1)},
    {(ANN, "collector"): (150, True)},
    Counter([("r1", "insufficient_points"), ("r2", "insufficient_points")]),
)
FACTS: list[tuple[str, dict[str, Any]]] = [
    ("points.awarded", {"transaction_id": "a1", "amount": 150, "balance": 150}),
    ("tier.changed", {"source": "points", "previous_tier_code": None, "tier_code": "bronze"}),
    ("points.awarded", {"transaction_id": "x1", "amount": 45, "balance": 195}),
    ("challenge.completed", {"challenge_code": "collector"}),
    ("points.deducted", {"transaction_id": "d1", "amount": 30, "balance": 165}),
    ("points.deducted", {"transaction_id": "c1", "amount": 25, "balance": 140}),
    ("reward.claimed", {"claim_id": "c1", "balance": 140}),
    ("tier.changed", {"source": "assigned", "previous_tier_code": "bronze", "tier_code": "guest"}),
]


def violations(books: Books, facts: list[tuple[str, dict[str, Any]]] = FACTS) -> list[str]:
    rows = [
        FactRow(str(nth), ANN, nth, kind, json.dumps({"participant_id": ANN, "payload": payload}))
        for nth, (kind, payload) in enumerate(facts, 1)
    ]
    found, verdict = Found([], [], {}, set(), rows, {}, {}, 0, 0, {}), Verdict()
    bookkeeping.check(verdict, SIDE, books, found, WRITES)
    return verdict.violations


def test_books_that_are_right_are_clean() -> None:
    assert violations(BOOKS) == []


FLAWS: dict[str, tuple[Callable[[], Books], str]] = {
    "an award is lost": (lambda: replace(BOOKS, movements=[PRIZE, DEDUCTION, COST]), "is lost"),
    "an assignment is lost": (lambda: replace(BOOKS, changes=[BRONZE]), "is lost"),
    "a refusal is lost": (
        lambda: replace(BOOKS, rejected=Counter([("r2", "insufficient_points")])), "is lost"),
    "a movement stands twice": (
        lambda: replace(BOOKS, movements=[*BOOKS.movements, AWARD]), "decided on 2 times"),
    "a claim was refused, and given": (
        lambda: replace(BOOKS, rejected=BOOKS.rejected + Counter([("c1", "reward_out_of_stock")])),
        "decided on 2 times"),
    "a request stands twice under two ids": (
        lambda: replace(BOOKS, changes=[*BOOKS.changes, replace(GUEST, id="g2")]),
        "stands 2 times"),
    "nobody sent it": (
        lambda: replace(BOOKS, movements=[replace(AWARD, token="t0"), PRIZE, DEDUCTION, COST]),
        "was not sent so"),
    "another amount was sent": (
        lambda: replace(BOOKS, movements=[AWARD, PRIZE, replace(DEDUCTION, signed=-31), COST]),
        "was not sent so"),
    "another balance was answered": (
        lambda: replace(BOOKS, movements=[AWARD, PRIZE, replace(DEDUCTION, balance=9), COST]),
        "was answered"),
    "what was told to be refused was done": (
        lambda: replace(BOOKS, movements=[
            *BOOKS.movements, Movement("r9", ANN, "deduct", -999, 0, None, "t6")]),
        "was answered fail"),
    "a refusal of what nobody sent": (
        lambda: replace(BOOKS, rejected=BOOKS.rejected + Counter(
            [("r3", "reward_out_of_stock"), ("r4", "reward_out_of_stock")])),
        "unknown reward_out_of_stock"),
    "the sums are not those of the ledger": (
        lambda: replace(BOOKS, sums={ANN: Sums(196, 55, 1, "guest")}), "the ledger 195 and 55"),
    "a balance below zero": (
        lambda: replace(BOOKS, movements=[AWARD, PRIZE, DEDUCTION, replace(COST, balance=-1)]),
        "below zero"),
    "a claim was not paid": (
        lambda: replace(BOOKS, movements=[AWARD, PRIZE, DEDUCTION]), "what was paid"),
    "more are gone than were claimed": (
        lambda: replace(BOOKS, stocks={"mug": (20, 2)}), "the ledger has 1"),
    "it is oversold": (lambda: replace(BOOKS, stocks={"mug": (0, 1)}), "oversold"),
    "a challenge is paid twice": (
        lambda: replace(BOOKS, movements=[*BOOKS.movements, replace(PRIZE, id="x2")]),
        "completed and paid differ"),
    "a challenge is not completed at its target": (
        lambda: replace(BOOKS, progress={(ANN, "collector"): (150, False)}), "in collector is at"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_of_the_books_is_seen(flaw: str) -> None:
    spoil, expected = FLAWS[flaw]
    found = violations(spoil())
    assert any(expected in one for one in found), found


@pytest.mark.parametrize("nth", range(len(FACTS)))
def test_a_fact_that_is_missing_or_told_twice_is_seen(nth: int) -> None:
    assert violations(BOOKS, FACTS[:nth] + FACTS[nth + 1 :])
    assert violations(BOOKS, [*FACTS, FACTS[nth]])


def test_facts_in_the_wrong_order_are_seen() -> None:
    assert any("and then" in one for one in violations(BOOKS, FACTS[::-1]))
