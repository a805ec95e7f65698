"""The current state: ticks per second, unapplied writes, deliveries and failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client
from api.dashboard.layout import blueprint, page
from api.http.auth import tenant
from api.http.request_context import DASHBOARD_PATH as PATH
from api.http.request_context import app_context
from api.http.tenant_session import reading
from models import clock
from models.operator import overview as figures
from workers.intake import redis_keys
from workers.intake.client import Unavailable

WIDTH, HEIGHT = 600, 96  # of the chart


@dataclass(frozen=True, slots=True)
class UnappliedWrites:
    """This tenant's unapplied writes; None if Redis does not answer."""

    entries: int | None
    oldest_seconds: float | None  # of its stream, which other tenants share
    drains: int | None


@blueprint.get("")
def overview() -> AnyResponse:
    """The overview; only its figures for a page that refreshes itself."""
    with reading() as connection:
        found = figures.read(connection, tenant().id, clock.now())
    peak = max(found.curve)
    part = "figures.html" if request.headers.get("HX-Request") else "overview.html"
    return page(
        part,
        title="Overview",
        found=found,
        intake=_intake(),
        line=_line(found.curve, max(peak, 1.0)),  # an idle chart is a flat line
        peak=peak,
        width=WIDTH,
        height=HEIGHT,
        now=clock.isoformat(clock.now()),
        **(_newest_streak() if part == "overview.html" else {}),
    )


def _newest_streak() -> dict[str, Any]:
    """The newest streak, for the example, if any."""
    found = api_client.get("streaks", page_size=100, is_active="true")["items"]
    newest = max(
        found, key=lambda streak: str(streak["created_at"]), default={"code": "daily_login"}
    )
    return {"code": newest["code"], "has_streak": bool(found)}


@blueprint.get("/")
def with_a_slash() -> AnyResponse:
    """The address with a trailing slash, as it is often typed."""
    return redirect(PATH, 308)


def _intake() -> UnappliedWrites:
    intake, number = app_context().intake, redis_keys.stream_of(tenant().id)
    try:
        entries, intake_status = intake.unapplied(tenant().id), intake.read_status()
    except Unavailable:
        return UnappliedWrites(None, None, None)
    ages = [
        stream.oldest_age_seconds
        for stream in intake_status.streams
        if stream.number == number and entries
    ]
    return UnappliedWrites(entries, max(ages, default=0.0), intake_status.drains)


def _line(curve: Sequence[float], peak: float) -> str:
    """The points of a polyline, with `peak` at its top."""
    step = WIDTH / max(len(curve) - 1, 1)
    return " ".join(
        f"{nth * step:.1f},{HEIGHT - 4 - (HEIGHT - 8) * count / peak:.1f}"
        for nth, count in enumerate(curve)
    )
