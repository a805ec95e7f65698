"""Pages of the actions on a participant: what will happen is shown before it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from flask import abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client, form_fields
from api.dashboard.api_client import ApiAnswer
from api.dashboard.form_body import form
from api.dashboard.layout import blueprint, page
from api.dashboard.participant_actions import ACTIONS, REASON, Action
from api.http.request_context import DASHBOARD_PATH as PATH

_PATH = "/participants/<participant:participant_id>/do/<name>"
SCRIP_PATH = "/v1/participants"
_OK = ApiAnswer(200, {})
ACCEPTED = 202


@blueprint.get(_PATH)
def action_form(participant_id: str, name: str) -> AnyResponse:
    """The form of an action; of one without fields, what will happen."""
    action, streak = _action(name), request.args.get("streak", "")
    if not action.inputs:
        return _preview(participant_id, name, streak, {})
    values = {entry.name: str(entry.default or "") for entry in action.inputs}
    return _page(participant_id, name, streak, values, _OK)


@blueprint.post(_PATH)
def submit_action(participant_id: str, name: str) -> AnyResponse:
    """Show the form again, show what will happen, or do it, as the pressed button says."""
    _action(name)
    given, streak = form(), form().get("streak", "")
    match given.get("step"):
        case "edit":
            return _page(participant_id, name, streak, given, _OK)
        case "do" if given.get("reason", "").strip():
            return _do(participant_id, name, streak, given)
        case "do":
            missing = {"reason": "Must be given"}
            return _preview(participant_id, name, streak, given, missing)
        case _:
            return _preview(participant_id, name, streak, given)


def _action(name: str) -> Action:
    if name not in ACTIONS:
        abort(404, "This page does not exist.")
    return ACTIONS[name]


def _preview(
    participant_id: str,
    name: str,
    streak: str,
    given: Mapping[str, str],
    missing: Mapping[str, str] | None = None,
) -> AnyResponse:
    """What will happen, with the button that does it; the form where it would be refused."""
    action = ACTIONS[name]
    if action.has_preview:
        answered = _sent(participant_id, name, streak, given, preview="true")
    else:
        answered = _checked(action, given)
    if not answered.is_ok:
        return _page(participant_id, name, streak, given, answered)
    return page(
        "action_preview.html",
        422 if missing else 200,
        once=given.get("once") or uuid4().hex,
        **_values(participant_id, name, streak, given),
        preview=answered.body,
        effect=action.effect.format_map(given) if action.effect else "",
        errors=missing or {},
    )


def _checked(action: Action, given: Mapping[str, str]) -> ApiAnswer:
    """Of an action without a preview: what would be refused since a field is missing."""
    missing = [
        {"field": entry.name, "message": "must be given"}
        for entry in action.inputs
        if entry.is_required and not given.get(entry.name, "").strip()
    ]
    return ApiAnswer(422, {"errors": missing}) if missing else _OK


def _do(participant_id: str, name: str, streak: str, given: Mapping[str, str]) -> AnyResponse:
    key = {"Idempotency-Key": given["once"]} if given.get("once") else {}
    answered = _sent(participant_id, name, streak, given, key)
    if not answered.is_ok:
        return _page(participant_id, name, streak, given, answered)
    notice = ACTIONS[name].done
    if answered.status == ACCEPTED:
        notice = "Accepted: it is applied in a moment"
    to = "" if ACTIONS[name].is_last else f"/{quote(participant_id, safe='')}"
    return redirect(f"{PATH}/participants{to}?notice={quote(notice)}", 303)


def _sent(
    participant_id: str,
    name: str,
    streak: str,
    given: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> ApiAnswer:
    call = ACTIONS[name].call(participant_id, streak, given)
    path = SCRIP_PATH if call.is_scrip else api_client.path_of(*call.steps)
    return api_client.send(call.method, path, call.body, call.query | query, headers)


def _page(
    participant_id: str, name: str, streak: str, given: Mapping[str, str], answered: ApiAnswer
) -> AnyResponse:
    inputs = ACTIONS[name].inputs
    errors = _renamed(answered.errors)
    problem = ""
    if not answered.is_ok:
        problem = form_fields.summary([*inputs, REASON], errors, answered.detail)
    return page(
        "action_form.html",
        200 if answered.is_ok else answered.status,
        **_values(participant_id, name, streak, given),
        errors=form_fields.messages(inputs, errors, given),
        problem=problem,
    )


def _renamed(errors: Mapping[str, str]) -> dict[str, str]:
    """The errors by the names of the form: it has one period, the API a list or a path."""
    return {
        "period" if field.partition(".")[0] in ("periods", "period_key") else field: text
        for field, text in errors.items()
    }


def _values(
    participant_id: str, name: str, streak: str, given: Mapping[str, str]
) -> dict[str, Any]:
    action = ACTIONS[name]
    return {
        "title": action.title, "action": action, "name": name, "streak": streak,
        "participant_id": participant_id, "values": given,
    }  # fmt: skip
