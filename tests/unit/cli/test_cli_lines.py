"""How a fact is said in one line."""

from __future__ import annotations

import json

import pytest

from api.cli.fact_line import fact_line, printable
from models import clock, ids
from models.identity.tenants import Tenant
from webhooks import fact_samples, facts


def test_a_line_says_what_happened_to_whom_in_which_order() -> None:
    fact = {
        "type": facts.STREAK_RECORDED,
        "participant_id": "user_42",
        "sequence": 17,
        "payload": {"streak_code": "daily_login", "count": 8, "tick_id": "01", "metadata": {}},
    }
    line = fact_line(fact)
    assert line.split() == [
        facts.STREAK_RECORDED, "user_42", "#17", "streak_code=daily_login", "count=8",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", facts.TYPES)
def test_of_every_type_more_than_the_type_is_said(kind: str) -> None:
    tenant = Tenant(1, "acme", "live", True, 0, b"")
    body = fact_samples.body(kind, tenant, clock.now_us(), ids.uuid7(clock.now_us()))
    line = fact_line(json.loads(body))
    assert line.startswith(kind)
    assert "=" in line
    assert "None" not in line


@pytest.mark.parametrize("fact", [{}, {"payload": None}, {"payload": []}, {"type": {"a": 1}}])
def test_what_is_no_fact_of_ours_still_makes_a_line(fact: dict[str, object]) -> None:
    assert len(fact_line(fact).splitlines()) == 1


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202egnp.exe", "\x00", "\u2028", "\x9b31m"])
def test_nothing_that_moves_the_cursor_is_printed(text: str) -> None:
    said = printable(text)
    assert said.isprintable()
    assert said.isprintable() is not text.isprintable()


def test_what_is_too_long_is_cut_where_it_can_be_seen() -> None:
    assert printable("x" * 61) == "x" * 59 + "…"
    assert printable("x" * 60) == "x" * 60
