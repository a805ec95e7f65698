"""`unbroken trigger`: send a signed sample of a fact now, and show the result."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from api.cli.connect.api_session import ApiRefusal, Remote, api_options, remote
from api.cli.errors import CannotRun
from api.cli.fact_line import printable
from api.cli.options import json_option
from webhooks import facts

PAGE_SIZE = 100  # the API's maximum
DETAILS_CHARS_MAX = 200  # of a receiver's answer
URL_CHARS_MAX = 2_048  # of a destination


@click.command(short_help="Send a signed sample fact now to the destinations of its type.")
@click.argument("kind", metavar="TYPE")
@click.option(
    "--webhook",
    "webhook_id",
    type=click.UUID,
    metavar="ID",
    help="Only this destination, whatever its types.",
)
@api_options
@json_option
def trigger(kind: str, webhook_id: object, path: Path, as_json: bool, **where: str | None) -> None:
    """Send a signed sample fact of a TYPE now, to every destination that receives this type.

    Prints each answer; exits with 1 unless all answered 2xx. Neither the fact nor the attempt is
    stored. An unknown TYPE lists the types.

    \b
    Example:
      unbroken trigger behavior.streak_recorded --key bq_test_…
      unbroken trigger badge.awarded --webhook 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """
    if kind not in facts.TYPES:
        raise CannotRun(
            f"{kind!r} is not a type of fact. There are:\n  " + "\n  ".join(facts.TYPES)
        )
    outcomes = []
    with remote(where["url"], where["key"], path) as api:
        for destination in _destinations(api, kind, webhook_id):
            outcomes.append(_send(api, kind, destination))
            if not as_json:
                click.echo(_line(outcomes[-1]))
    if as_json:
        click.echo(json.dumps(outcomes))
    sys.exit(0 if all(outcome["delivered"] for outcome in outcomes) else 1)


def _destinations(api: Remote, kind: str, webhook_id: object) -> list[dict[str, Any]]:
    """The named destination, or all that would receive the fact; ApiRefusal without any."""
    if webhook_id is not None:
        return [api.call("GET", f"/admin/webhooks/{webhook_id}")]
    found = [
        destination
        for destination in _all(api)
        if destination["is_enabled"] and facts.matches(destination["event_types"], kind)
    ]
    if not found:
        raise ApiRefusal(f"no enabled destination receives {kind}: name one with --webhook")
    return found


def _all(api: Remote) -> Iterator[dict[str, Any]]:
    number, total = 1, 1
    while (number - 1) * PAGE_SIZE < total:
        page = {"page": number, "page_size": PAGE_SIZE}
        answer = api.call("GET", "/admin/webhooks", params=page)
        yield from answer["items"]
        number, total = number + 1, answer["total"]


def _send(api: Remote, kind: str, destination: dict[str, Any]) -> dict[str, Any]:
    """The outcome. A refusal by the API is an outcome too: other destinations are still tried."""
    named = {"webhook_id": destination["id"], "url": destination["url"]}
    try:
        outcome = api.call("POST", f"/admin/webhooks/{destination['id']}/test", json={"type": kind})
    except ApiRefusal as refusal:
        nothing = dict.fromkeys(("status_code", "duration_ms", "response"))
        return {**named, "delivered": False, "error": refusal.message, **nothing}
    return {**named, **outcome}


def _line(outcome: dict[str, Any]) -> str:
    """An outcome in one line; for a failure a second line with the receiver's answer."""
    mark, word = ("✓", "taken") if outcome["delivered"] else ("✗", "not taken")
    details = [str(outcome[name]) for name in ("status_code", "error") if outcome[name] is not None]
    if outcome["duration_ms"] is not None:
        details.append(f"in {outcome['duration_ms']} ms")
    where = printable(outcome["url"], URL_CHARS_MAX)
    line = f"{mark} {where}  {word}: {printable(' '.join(details), DETAILS_CHARS_MAX)}"
    if outcome["delivered"] or not outcome["response"]:
        return line
    return f"{line}\n    {printable(outcome['response'].strip(), DETAILS_CHARS_MAX)}"
