"""Pages for definitions of every type: list, create, change, pause and resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flask import abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client, form_fields, one_time_secret
from api.dashboard.api_client import ApiAnswer
from api.dashboard.definition_types import KINDS, DefinitionType
from api.dashboard.form_body import form
from api.dashboard.layout import blueprint, page
from api.http.request_context import DASHBOARD_PATH as PATH

PAGE_SIZE = 50
LISTED_MAX = 6  # entries of a list in a table's cell; of a longer one their number


def _kind(name: str) -> DefinitionType:
    if name not in KINDS:
        abort(404, "This page does not exist.")
    return KINDS[name]


@blueprint.get("/d/<kind>")
def listed(kind: str) -> AnyResponse:
    """The definitions of a type."""
    of = _kind(kind)
    number = request.args.get("page", 1, int)
    found = api_client.get(*of.path, page=number, page_size=PAGE_SIZE)
    return page("listed.html", title=of.title, kind=of, name=kind, found=found, get=_get)


@blueprint.get("/d/<kind>/new")
def new(kind: str) -> AnyResponse:
    """An empty form."""
    of = _kind(kind)
    values = {field.name: str(field.default or "") for field in of.inputs}
    return _form(kind, None, values, ApiAnswer(200, {}))


@blueprint.post("/d/<kind>/new")
def create(kind: str) -> AnyResponse:
    """Create a definition from a form, or show the form again with its errors."""
    of, given = _kind(kind), form()
    body = form_fields.body_of(of.inputs, given, is_new=True)
    answered = api_client.send("POST", api_client.path_of(*of.path), body)
    if not answered.is_ok:
        return _form(kind, None, given, answered)
    if "secret" in answered.body:  # shown only once
        made = answered.body
        return one_time_secret.lead_to(made["id"], made["secret"], "New destination")
    return _to(kind, answered.body, f"{of.noun.capitalize()} created")


@blueprint.get("/d/<kind>/<item>")
def edit(kind: str, item: str) -> AnyResponse:
    """The form of a definition."""
    of = _kind(kind)
    found = api_client.get(*of.path, item)
    return _form(kind, found, form_fields.shown(of.inputs, found), ApiAnswer(200, {}))


@blueprint.post("/d/<kind>/<item>")
def change(kind: str, item: str) -> AnyResponse:
    """Change a definition from a form."""
    of, given = _kind(kind), form()
    body = form_fields.body_of(of.inputs, given, is_new=False)
    answered = api_client.send("PATCH", api_client.path_of(*of.path, item), body)
    if not answered.is_ok:
        return _form(kind, api_client.get(*of.path, item), given, answered)
    return _to(kind, answered.body, "Saved")


@blueprint.post("/d/<kind>/<item>/pause")
def pause(kind: str, item: str) -> AnyResponse:
    """Pause a definition, or delete a destination."""
    of = _kind(kind)
    _done(api_client.send("DELETE", api_client.path_of(*of.path, item)))
    messages = f"{of.noun.capitalize()} {'deleted' if of.can_be_deleted else 'paused'}"
    return redirect(f"{PATH}/d/{kind}?notice={quote(messages)}", 303)


@blueprint.post("/d/<kind>/<item>/resume")
def resume(kind: str, item: str) -> AnyResponse:
    """Make a definition active again."""
    of = _kind(kind)
    answered = api_client.send("PATCH", api_client.path_of(*of.path, item), {"is_active": True})
    _done(answered)
    return _to(kind, answered.body, f"{of.noun.capitalize()} resumed")


def _done(answered: ApiAnswer) -> None:
    if not answered.is_ok:
        abort(answered.status, answered.detail)


def _to(kind: str, item: Mapping[str, Any], messages: str) -> AnyResponse:
    key = quote(str(item[KINDS[kind].key]), safe="")
    return redirect(f"{PATH}/d/{kind}/{key}?notice={quote(messages)}", 303)


def _form(
    kind: str, item: dict[str, Any] | None, values: Mapping[str, str], answered: ApiAnswer
) -> AnyResponse:
    of = KINDS[kind]
    return page(
        "form.html",
        200 if answered.is_ok else answered.status,
        title=f"New {of.noun}" if item is None else str(item.get("name") or item.get("url")),
        kind=of,
        name=kind,
        item=item,
        values=values,
        code=values.get("code", ""),
        row_count=form_fields.row_count,
        errors=form_fields.messages(of.inputs, answered.errors, values),
        problem="" if answered.is_ok else _problem(of, answered),
    )


def _problem(of: DefinitionType, answered: ApiAnswer) -> str:
    return form_fields.summary(of.inputs, answered.errors, answered.detail)


def _get(item: Mapping[str, Any], path: str) -> Any:
    found: Any = item
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    if not isinstance(found, list):
        return found
    return ", ".join(found) if len(found) <= LISTED_MAX else len(found)
