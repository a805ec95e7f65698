"""Caps on writes, and the headers that tell how much is left."""

from __future__ import annotations

from flask import g

from api.errors import Problem
from workers.intake import Caps, Rate, Refusal

RATE_LIMIT_CODES = (
    "RATE_LIMIT_TENANT_EXCEEDED",
    "RATE_LIMIT_KEY_EXCEEDED",
    "RATE_LIMIT_PARTICIPANT_EXCEEDED",
)
_WHOSE = {"tenant": "for the tenant", "key": "with this key", "participant": "per participant"}


def rate_exceeded(caps: Caps, refusal: Refusal) -> Problem:
    """429 with the documented code: one more write would be over the cap that is named."""
    seconds, reason = _seconds(refusal.reset_ms), refusal.reason
    return Problem(
        429,
        f"RATE_LIMIT_{reason.upper()}_EXCEEDED",
        f"At most {getattr(caps, reason)} writes a minute {_WHOSE[reason]}."
        f" Try again in {seconds} s.",
        headers={"Retry-After": seconds},
    )


def show_rate(rate: Rate | None) -> None:
    """Put on this request's response, whatever it will be, how the tightest cap stands.

    Limit and remaining in writes, reset in seconds from now; nothing where no cap applies.
    """
    if rate is not None:
        g.rate_headers = {
            "X-RateLimit-Limit": str(rate.limit),
            "X-RateLimit-Remaining": str(rate.remaining),
            "X-RateLimit-Reset": _seconds(rate.reset_ms),
        }


def _seconds(milliseconds: int) -> str:
    return str(max(1, -(-milliseconds // 1_000)))
