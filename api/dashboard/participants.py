"""Participants: search, details with each streak's calendar; streaks at risk, also as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from flask import Response, abort, request, stream_with_context
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client
from api.dashboard.layout import blueprint, page
from api.dashboard.participant_actions import OF_PARTICIPANT, OF_STREAK
from api.dashboard.streak_calendar import calendar, why
from api.http.request_context import app_context
from models import clock

PAGE_SIZE = 50
DAYS_SHOWN = {"daily": 371, "weekly": 3 * 371, "monthly": 5 * 371}  # 53 weeks, 3 and 5 years
STREAKS_SHOWN = 20  # each reads its history from the API and draws up to 371 days
ROWS = 100  # per page of the feed
CSV_PAGES_MAX = 10_000  # a million rows
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a spreadsheet formula


@blueprint.get("/participants")
def participants() -> AnyResponse:
    """The participants whose id or name contains the search text."""
    wanted = {
        "search": request.args.get("search", ""),
        "status": request.args.get("status", ""),
        "page": request.args.get("page", 1, int),
    }
    found = api_client.get(
        "admin", "participants", page_size=PAGE_SIZE, sort="-last_seen_at", **wanted
    )
    part = "people_rows.html" if request.headers.get("HX-Request") else "people.html"
    return page(part, title="Participants", found=found, wanted=wanted)


@blueprint.get("/participants/<participant:participant_id>")
def participant(participant_id: str) -> AnyResponse:
    """One participant with all data; calendars for the first streaks."""
    found = _of(participant_id, "streaks")["streaks"]
    return page(
        "person.html",
        title=participant_id,
        of_participant=OF_PARTICIPANT,
        of_streak=OF_STREAK,
        profile=api_client.get("participants", participant_id),
        streaks=[_streak(participant_id, streak) for streak in found[:STREAKS_SHOWN]],
        more=max(len(found) - STREAKS_SHOWN, 0),
        tier=_of(participant_id, "tier"),
        challenges=_of(participant_id, "challenges")["challenges"],
        moves=_of(participant_id, "points", "transactions", page_size=10),
        claims=_of(participant_id, "rewards", page_size=10),
    )


@blueprint.get("/participant.json")
def participant_data() -> Response:
    """One participant's data as a file."""
    participant_id = request.args.get("participant_id", "")
    return api_client.file("participant.json", "participants", participant_id, "export")


def _of(participant_id: str, *steps: str, **query: Any) -> dict[str, Any]:
    return api_client.get("participants", participant_id, *steps, **query)


def _streak(participant_id: str, one: dict[str, Any]) -> dict[str, Any]:
    """A streak with its calendar and the explanation of its count."""
    kind = one["period"]
    first = (clock.now() - timedelta(days=DAYS_SHOWN[kind])).date()
    history = _of(participant_id, "streaks", one["code"], "history", **{"from": first.isoformat()})
    periods = history["periods"]
    drawn = calendar(kind, periods)
    return one | {"calendar": drawn, "why": why(kind, periods), "timezone": history["timezone"]}


# -- at risk ---------------------------------------------------------------------------------


@blueprint.get("/at-risk")
def at_risk() -> AnyResponse:
    """Participants about to lose a streak."""
    streaks = api_client.get("streaks", page_size=100, is_active="true")["items"]
    code, least = _asked(streaks)
    found: dict[str, Any] = {}
    if code:
        found = api_client.get("streaks", code, "at-risk", min_count=least, limit=ROWS)
    return page(
        "at_risk.html", title="At risk", streaks=streaks, code=code, least=least, found=found
    )


@blueprint.get("/at-risk.csv")
def at_risk_csv() -> AnyResponse:
    """The same list as a file, read page by page while it is sent."""
    code, least = _asked([])
    # Errors are reported before the file begins.
    api_client.get("streaks", code, "at-risk", min_count=least, limit=1)
    held = ExitStack()
    if not held.enter_context(app_context().slots.csv_files.slot()):
        abort(503, "Too many exports are running. Try again in a moment.")
    rows = stream_with_context(_csv(code, least))
    headers = {"Content-Disposition": f'attachment; filename="at-risk-{code}.csv"'}
    response = Response(rows, 200, headers, content_type="text/csv; charset=utf-8")
    response.call_on_close(held.close)
    return response


def _asked(streaks: list[dict[str, Any]]) -> tuple[str, int]:
    first = streaks[0]["code"] if streaks else ""
    return request.args.get("code", first), max(1, request.args.get("min_count", 1, int))


def _csv(code: str, least: int) -> Iterator[str]:
    after, names = None, list[str]()
    for _ in range(CSV_PAGES_MAX):
        found = api_client.get("streaks", code, "at-risk", min_count=least, limit=ROWS, after=after)
        for item in found["items"]:
            if not names:
                names = list(item)
                yield _line(names)
            yield _line([item[name] for name in names])
        after = found["next_cursor"]
        if after is None:
            return


def _line(values: list[Any]) -> str:
    """A row; a value that a spreadsheet would run as a formula becomes text."""
    out = io.StringIO()
    texts = ["" if value is None else str(value) for value in values]
    # In quotes: with semicolons as separators, one inside an id would begin a formula.
    is_parted = any(";" in text for text in texts)
    writer = csv.writer(out, quoting=csv.QUOTE_ALL if is_parted else csv.QUOTE_MINIMAL)
    writer.writerow([f"'{text}" if text.startswith(_FORMULA) else text for text in texts])
    return out.getvalue()
