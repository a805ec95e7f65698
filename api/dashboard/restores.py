"""The restores of many of a streak: start one, and see the progress of the last ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client
from api.dashboard.api_client import ApiAnswer
from api.dashboard.form_body import form
from api.dashboard.layout import blueprint, page
from api.http.request_context import DASHBOARD_PATH as PATH

SHOWN = 10


@blueprint.get("/streaks/<code>/restores")
def restores(code: str) -> AnyResponse:
    """The form, and the last restores with their progress."""
    return _page(code, {}, ApiAnswer(200, {}))


@blueprint.post("/streaks/<code>/restores")
def start_restore(code: str) -> AnyResponse:
    """Start a restore, or count the streaks to restore. A refusal shows the form again."""
    given = form()
    body: dict[str, Any] = {
        "lost_between": {"from": given.get("from", ""), "to": given.get("to", "")},
        "is_preview": given.get("action") == "preview",
    }
    if given.get("reason"):
        body["reason"] = given["reason"]
    answered = api_client.send("POST", api_client.path_of("streaks", code, "restore"), body)
    if not answered.is_ok:
        return _page(code, given, answered)
    notice = "The count has started" if body["is_preview"] else "The restore has started"
    return _to(code, notice)


@blueprint.post("/streaks/<code>/restores/<restore_id>/cancel")
def cancel_restore(code: str, restore_id: str) -> AnyResponse:
    """Restore no further streaks."""
    path = api_client.path_of("streaks", code, "restores", restore_id)
    answered = api_client.send("DELETE", path)
    return _to(code, "The restore was cancelled" if answered.is_ok else answered.detail)


def _to(code: str, notice: str) -> AnyResponse:
    return redirect(f"{PATH}/streaks/{quote(code, safe='')}/restores?notice={quote(notice)}", 303)


def _page(code: str, given: dict[str, str], answered: ApiAnswer) -> AnyResponse:
    values = {
        "title": "Restore lost streaks",
        "streak": api_client.get("streaks", code),
        "jobs": api_client.get("streaks", code, "restores", page_size=SHOWN)["items"],
        "given": given,
        "problem": "" if answered.is_ok else _problem(answered),
    }
    is_part = request.method == "GET" and request.headers.get("HX-Request")
    return page("restore_rows.html" if is_part else "restores.html", answered.status, **values)


def _problem(answered: ApiAnswer) -> str:
    """Which field is wrong, in the words of the form."""
    names = {"lost_between.from": "From", "lost_between.to": "To", "reason": "Reason"}
    said = [f"{names.get(field, field)} {why}" for field, why in answered.errors.items()]
    return "; ".join(said) or answered.detail
