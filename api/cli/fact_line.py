"""Facts in one line each for a terminal. Pure.

Their values come from callers: they must not move the terminal's cursor or change colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VALUE_CHARS_MAX = 60  # per value, so that a line is easy to read
# The payload fields shown in the line, in this order.
_FIELDS = (
    "streak_code", "badge_code", "tier_code", "reward_code", "challenge_code", "amount",
    "balance", "milestone", "count", "outcome", "period_key", "status",
    "expires_at", "broken_at", "webhook_id", "reason",
)  # fmt: skip


def printable(value: object, chars_max: int = VALUE_CHARS_MAX) -> str:
    """A value as text without control characters, cut if it is too long."""
    text = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in str(value)
    )
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


def fact_line(fact: Mapping[str, Any]) -> str:
    """A fact's type, participant, sequence number and main payload fields."""
    payload = fact.get("payload")
    fields = payload if isinstance(payload, dict) else {}
    words = [f"{printable(fact.get('type', 'no type')):26}"]
    if fact.get("participant_id") is not None:
        words.append(f"{printable(fact['participant_id'])} #{printable(fact.get('sequence'))}")
    words += [
        f"{name}={printable(fields[name])}" for name in _FIELDS if fields.get(name) is not None
    ]
    return "  ".join([words[0], " ".join(words[1:])]).rstrip()
