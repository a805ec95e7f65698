"""Caps on writes, and the headers that show what remains."""

from __future__ import annotations

from contextlib import suppress

from flask import Response, g, request

from api.http import load_shedding
from api.http.auth import is_current, principal
from api.http.error_handler import render, translate
from api.http.key_cache import Principal
from api.http.problems import Problem
from api.http.request_context import app_context
from workers.intake.client import Caps, Rate, Refusal, RefusalReason, Stale, Unavailable, Writer

RATE_LIMIT_CODES = (
    "RATE_LIMIT_TENANT_EXCEEDED",
    "RATE_LIMIT_KEY_EXCEEDED",
    "RATE_LIMIT_PARTICIPANT_EXCEEDED",
)
_WHOSE = {"tenant": "for the tenant", "key": "with this key", "participant": "per participant"}


def rate_exceeded(caps: Caps, refusal: Refusal) -> Problem:
    """429 with the documented code: one more write would exceed the named cap."""
    seconds, reason = _seconds(refusal.reset_ms), refusal.reason
    return Problem(
        429,
        f"RATE_LIMIT_{reason.upper()}_EXCEEDED",
        f"At most {getattr(caps, reason)} writes a minute {_WHOSE[reason]}."
        f" Try again in {seconds} s.",
        headers={"Retry-After": seconds},
    )


def show_rate(rate: Rate | None) -> None:
    """Add the tightest cap to this request's response, whatever its status.

    Limit and remaining in writes, reset in seconds from now; nothing if no cap applies.
    """
    if rate is not None:
        g.rate_headers = {
            "X-RateLimit-Limit": str(rate.limit),
            "X-RateLimit-Remaining": str(rate.remaining),
            "X-RateLimit-Reset": _seconds(rate.reset_ms),
        }


def show_tightest_rate() -> None:
    """Show the caps for a write that never reached the intake: it took no token."""
    if "rate_headers" in g or "principal" not in g:
        return
    caller = principal()
    writer = Writer(caller.tenant.id, caller.key.id, g.get("participant_id"))
    with suppress(Unavailable):  # then the answer has no rate headers
        show_rate(app_context().intake.tightest_rate(writer, caller.caps))


def refuse_spent(caller: Principal) -> None:
    """Refuse a batch before it is read when a cap shared by all its items is used up: no item could
    be accepted.

    Raises Problem, Unavailable, or Stale if the cap may have changed.
    """
    writer = Writer(caller.tenant.id, caller.key.id, None)
    shared: tuple[tuple[RefusalReason, Caps], ...] = (
        ("tenant", Caps(tenant=caller.caps.tenant)),
        ("key", Caps(key=caller.caps.key)),
    )
    for reason, cap in shared:
        rate = app_context().intake.tightest_rate(writer, cap)
        if rate is None or rate.remaining:
            continue
        if not is_current(caller):
            raise Stale
        show_rate(rate)
        raise rate_exceeded(caller.caps, Refusal(reason, rate.reset_ms))


def render_refusal(error: Exception) -> Response:
    """The error handler of writes: a refusal shows the caps too, and retries after a full intake
    are spread in time."""
    problem = translate(error)
    if problem.code == "overloaded":
        problem.headers["Retry-After"] = load_shedding.retry_after()
    if request.method == "POST" and problem.status < 500:
        show_tightest_rate()
    return render(problem)


def _seconds(milliseconds: int) -> str:
    return str(max(1, -(-milliseconds // 1_000)))
