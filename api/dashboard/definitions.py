"""Definitions of every kind: listed, created, changed, paused and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flask import abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.context import DASHBOARD_PATH as PATH
from api.dashboard import calls, fields, shown_once
from api.dashboard.calls import Answered
from api.dashboard.forms import form
from api.dashboard.frame import blueprint, page
from api.dashboard.kinds import KINDS, Kind

PAGE_SIZE = 50


def _kind(name: str) -> Kind:
    if name not in KINDS:
        abort(404, "There is no such page.")
    return KINDS[name]


@blueprint.get("/d/<kind>")
def listed(kind: str) -> AnyResponse:
    """The definitions of a kind."""
    of = _kind(kind)
    number = request.args.get("page", 1, int)
    found = calls.get(*of.path, page=number, page_size=PAGE_SIZE)
    return page("listed.html", title=of.title, kind=of, name=kind, found=found, get=_get)


@blueprint.get("/d/<kind>/new")
def new(kind: str) -> AnyResponse:
    """An empty form."""
    of = _kind(kind)
    values = {one.name: str(one.default or "") for one in of.inputs}
    return _form(kind, None, values, Answered(200, {}))


@blueprint.post("/d/<kind>/new")
def create(kind: str) -> AnyResponse:
    """Create what a form says, or show the form again with what is wrong."""
    of, given = _kind(kind), form()
    body = fields.body_of(of.inputs, given, is_new=True)
    answered = calls.send("POST", calls.path_of(*of.path), body)
    if not answered.is_ok:
        return _form(kind, None, given, answered)
    if "secret" in answered.body:  # shown this once
        made = answered.body
        return shown_once.lead_to(made["id"], made["secret"], "A new destination")
    return _to(kind, answered.body, f"{of.noun.capitalize()} created")


@blueprint.get("/d/<kind>/<item>")
def edit(kind: str, item: str) -> AnyResponse:
    """A definition's form."""
    of = _kind(kind)
    found = calls.get(*of.path, item)
    return _form(kind, found, fields.shown(of.inputs, found), Answered(200, {}))


@blueprint.post("/d/<kind>/<item>")
def change(kind: str, item: str) -> AnyResponse:
    """Change what a form says of a definition."""
    of, given = _kind(kind), form()
    body = fields.body_of(of.inputs, given, is_new=False)
    answered = calls.send("PATCH", calls.path_of(*of.path, item), body)
    if not answered.is_ok:
        return _form(kind, calls.get(*of.path, item), given, answered)
    return _to(kind, answered.body, "Saved")


@blueprint.post("/d/<kind>/<item>/pause")
def pause(kind: str, item: str) -> AnyResponse:
    """Pause a definition, or delete a destination."""
    of = _kind(kind)
    _done(calls.send("DELETE", calls.path_of(*of.path, item)))
    told = f"{of.noun.capitalize()} {'deleted' if of.can_be_deleted else 'paused'}"
    return redirect(f"{PATH}/d/{kind}?told={quote(told)}", 303)


@blueprint.post("/d/<kind>/<item>/resume")
def resume(kind: str, item: str) -> AnyResponse:
    """Make a definition active again."""
    of = _kind(kind)
    answered = calls.send("PATCH", calls.path_of(*of.path, item), {"is_active": True})
    _done(answered)
    return _to(kind, answered.body, f"{of.noun.capitalize()} resumed")


def _done(answered: Answered) -> None:
    if not answered.is_ok:
        abort(answered.status, answered.detail)


def _to(kind: str, item: Mapping[str, Any], told: str) -> AnyResponse:
    key = quote(str(item[KINDS[kind].key]), safe="")
    return redirect(f"{PATH}/d/{kind}/{key}?told={quote(told)}", 303)


def _form(
    kind: str, item: dict[str, Any] | None, values: Mapping[str, str], answered: Answered
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
        errors=fields.told(of.inputs, answered.errors, values),
        problem="" if answered.is_ok else _problem(of, answered),
    )


def _problem(of: Kind, answered: Answered) -> str:
    return fields.summary(of.inputs, answered.errors, answered.detail)


def _get(item: Mapping[str, Any], path: str) -> Any:
    found: Any = item
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return ", ".join(found) if isinstance(found, list) else found
