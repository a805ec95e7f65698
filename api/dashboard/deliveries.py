"""Deliveries and attempts of a destination, sending again, and dead letters."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import redirect, request
from werkzeug.wrappers import Response as AnyResponse

from api.dashboard import api_client, one_time_secret
from api.dashboard.api_client import ApiAnswer
from api.dashboard.form_body import form
from api.dashboard.layout import blueprint, page
from api.http.request_context import DASHBOARD_PATH as PATH

ROWS = 50


@blueprint.get("/webhooks/<webhook_id>")
def deliveries(webhook_id: str) -> AnyResponse:
    """The deliveries of a destination: sent, pending and exhausted."""
    wanted = {name: request.args.get(name, "") for name in ("status", "after")}
    found = api_client.get("admin", "webhooks", webhook_id, "deliveries", limit=ROWS, **wanted)
    values = {
        "title": "Deliveries",
        "webhook": api_client.get("admin", "webhooks", webhook_id),
        "found": found,
        "wanted": wanted,
        "replays": api_client.get("admin", "webhooks", webhook_id, "replays", page_size=5)["items"],
    }
    part = "delivery_rows.html" if request.headers.get("HX-Request") else "deliveries.html"
    return page(part, **values)


@blueprint.get("/webhooks/<webhook_id>/<fact_id>")
def delivery(webhook_id: str, fact_id: str) -> AnyResponse:
    """One delivery: the signed body, and each attempt with its response."""
    found = api_client.get("admin", "webhooks", webhook_id, "deliveries", fact_id)
    webhook = api_client.get("admin", "webhooks", webhook_id)
    return page("delivery.html", title=fact_id, webhook=webhook, found=found)


@blueprint.post("/webhooks/<webhook_id>/<fact_id>/resend")
def resend(webhook_id: str, fact_id: str) -> AnyResponse:
    """Send one fact again."""
    path = api_client.path_of("admin", "webhooks", webhook_id, "deliveries", fact_id, "resend")
    notice = _notice(api_client.send("POST", path), "The fact is queued and will be sent again now")
    return redirect(f"{PATH}/webhooks/{webhook_id}/{fact_id}?notice={notice}", 303)


@blueprint.post("/webhooks/<webhook_id>/test")
def test(webhook_id: str) -> AnyResponse:
    """Send a signed sample now and show the result."""
    path = api_client.path_of("admin", "webhooks", webhook_id, "test")
    answered = api_client.send(
        "POST", path, {"type": form().get("type") or "behavior.streak_recorded"}
    )
    webhook = api_client.get("admin", "webhooks", webhook_id)
    return page("tried.html", title="A sample fact was sent", webhook=webhook, answered=answered)


@blueprint.post("/webhooks/<webhook_id>/probe")
def probe(webhook_id: str) -> AnyResponse:
    """Try a parked destination now."""
    path = api_client.path_of("admin", "webhooks", webhook_id, "probe")
    notice = _notice(
        api_client.send("POST", path), "One fact is sent now. If it is delivered, the others follow"
    )
    return redirect(f"{PATH}/webhooks/{webhook_id}?notice={notice}", 303)


@blueprint.post("/webhooks/<webhook_id>/rotate")
def rotate(webhook_id: str) -> AnyResponse:
    """Rotate the secret: the new one is shown once; the old one also signs for a day."""
    webhook = api_client.get("admin", "webhooks", webhook_id)
    path = api_client.path_of("admin", "webhooks", webhook["id"], "rotate")
    answered = api_client.send("POST", path, {"overlap_hours": 24})
    if not answered.is_ok:
        notice = _notice(answered, "")
        return redirect(f"{PATH}/webhooks/{webhook_id}?notice={notice}", 303)
    return one_time_secret.lead_to(webhook["id"], answered.body["secret"], "New secret")


@blueprint.post("/webhooks/<webhook_id>/replay")
def replay(webhook_id: str) -> AnyResponse:
    """Send a range of facts again, or only the missing ones."""
    given = form()
    body: dict[str, Any] = {"only_missing": given.get("only_missing") == "on"}
    body |= {name: f"{given[name]}:00Z" for name in ("since", "until") if given.get(name)}
    path = api_client.path_of("admin", "webhooks", webhook_id, "replays")
    notice = _notice(api_client.send("POST", path, body), "The replay has started")
    return redirect(f"{PATH}/webhooks/{webhook_id}?notice={notice}", 303)


# -- dead letters ----------------------------------------------------------------------------


@blueprint.get("/dead-letters")
def dead_letters() -> AnyResponse:
    """Accepted writes that could not be applied."""
    wanted = {name: request.args.get(name, "") for name in ("status", "kind", "after")}
    wanted["status"] = wanted["status"] or "dead"
    found = api_client.get("admin", "dead-letters", limit=ROWS, **wanted)
    return page("dead_letters.html", title="Dead letters", found=found, wanted=wanted)


@blueprint.get("/dead-letters/<dead_letter_id>")
def dead_letter(dead_letter_id: str) -> AnyResponse:
    """One dead letter with all its fields."""
    found = api_client.get("admin", "dead-letters", dead_letter_id)
    return page("dead_letter.html", title="Dead letter", found=found)


@blueprint.post("/dead-letters/<dead_letter_id>/<any(replay, discard):action>")
def settle(dead_letter_id: str, action: str) -> AnyResponse:
    """Replay or discard a dead letter."""
    path = api_client.path_of("admin", "dead-letters", dead_letter_id, action)
    done = "The dead letter is replayed" if action == "replay" else "The dead letter was discarded"
    notice = _notice(api_client.send("POST", path), done)
    return redirect(f"{PATH}/dead-letters/{dead_letter_id}?notice={notice}", 303)


def _notice(answered: ApiAnswer, done: str) -> str:
    return quote(done if answered.is_ok else answered.detail)
