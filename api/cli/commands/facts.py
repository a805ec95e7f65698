"""`unbroken facts`: follow the feed, or send a fact again, over HTTP."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from api.cli import output
from api.cli.connect.api_session import Remote, api_options, remote
from api.cli.errors import CannotRun
from api.cli.fact_line import fact_line, printable
from api.cli.options import json_option
from webhooks.facts import TYPES, matches

PAGE = 500  # the API's maximum
POLL_SECONDS = 1.0  # between two polls
AWAY_SECONDS = 5.0  # between two tries to reach an unavailable API
_FACT_ID = re.compile(r"evt_[0-9a-f]{32}", re.ASCII)


@click.group()
def facts() -> None:
    """Follow the feed of facts; send a fact again.

    \b
    Example:
      unbroken facts tail --key bq_live_…
      unbroken facts resend evt_01939c7e… --webhook 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """


@facts.command()
@click.option(
    "--after",
    default="latest",
    show_default=True,
    metavar="CURSOR",
    help="Where to start: a cursor, `oldest` (all stored facts) or `latest` (new facts only).",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Only facts of this type, or of a glob such as `behavior.*`. Repeatable.",
)
@click.option("--participant", metavar="ID", help="Only facts about this participant.")
@click.option("--streak", metavar="CODE", help="Only facts about this streak.")
@click.option(
    "--follow/--no-follow", default=True, help="Keep printing new facts.  [default: follow]"
)
@api_options
@json_option
def tail(after: str, follow: bool, path: Path, as_json: bool, **given: Any) -> None:
    """Print facts in the order of the feed, one a line, until Ctrl-C.

    With --json each line is the body as it is signed and sent. At the end, stderr shows the cursor
    to continue from; no fact is skipped as long as facts are retained.

    \b
    Example:
      unbroken facts tail --type 'behavior.*' --key bq_live_…
      unbroken facts tail --after oldest --no-follow --json > facts.ndjson
    """
    query = _query(given)
    with remote(given["url"], given["key"], path) as api:
        cursor = None if after == "oldest" else after
        try:
            for page in _pages(api, query, cursor, follow=follow):
                with _whole():
                    for fact in page["items"]:
                        click.echo(json.dumps(fact, ensure_ascii=False) if as_json else _line(fact))
                    cursor = page["next_cursor"]
        except KeyboardInterrupt:
            click.echo("", err=True)
    if follow and cursor:
        click.echo(f"to continue from here: --after {cursor}", err=True)


@contextmanager
def _whole() -> Iterator[None]:
    """Delay Ctrl-C, so that a page is printed together with its cursor, or not at all."""
    asked: list[None] = []
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(None))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _query(given: dict[str, Any]) -> dict[str, Any]:
    for pattern in given["types"]:
        if not any(matches([pattern], kind) for kind in TYPES):
            raise CannotRun(f"{pattern!r} is no type of fact. There are:\n  " + "\n  ".join(TYPES))
    query = {
        "types": ",".join(given["types"]) or None,
        "participant_id": given["participant"],
        "streak_code": given["streak"],
        "limit": PAGE,
    }
    return {name: value for name, value in query.items() if value is not None}


def _pages(
    api: Remote, query: dict[str, Any], cursor: str | None, *, follow: bool
) -> Iterator[dict[str, Any]]:
    """The pages after a cursor; without `follow`, up to the current end.

    If the API becomes unavailable after its first answer, wait for it.
    """
    has_answered = False
    while True:
        try:
            page = api.call("GET", "/facts", params=query | ({"after": cursor} if cursor else {}))
        except CannotRun as error:
            if not (follow and has_answered):
                raise
            click.echo(f"{error.message}; trying again", err=True)
            time.sleep(AWAY_SECONDS)
            continue
        has_answered = True
        yield page
        is_end = page["next_cursor"] == cursor
        if not follow and (is_end or cursor == "latest"):
            return
        cursor = page["next_cursor"]
        if is_end:
            time.sleep(POLL_SECONDS)


def _line(fact: dict[str, Any]) -> str:
    return f"{printable(fact['id'])}  {printable(fact['occurred_at'])}  {fact_line(fact)}"


@facts.command()
@click.argument("fact_id", metavar="EVT_ID")
@click.option(
    "--webhook",
    "webhook_id",
    type=click.UUID,
    required=True,
    metavar="ID",
    help="The destination to send it to.",
)
@api_options
@json_option
def resend(fact_id: str, webhook_id: object, path: Path, as_json: bool, **where: Any) -> None:
    """Send a fact to a destination again, or for the first time, on a fresh schedule.

    It keeps its id, so a receiver that stores ids treats it as a repeat. Needs an admin key.

    \b
    Example:
      unbroken facts resend evt_01939c7e6a1b7c3d9e4f0a1b2c3d4e5f \\
        --webhook 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """
    if not _FACT_ID.fullmatch(fact_id):
        raise CannotRun(f"{fact_id!r} is not the id of a fact: they are like evt_01939c7e6a1b7c3d…")
    with remote(where["url"], where["key"], path) as api:
        answer = api.call("POST", f"/admin/webhooks/{webhook_id}/deliveries/{fact_id}/resend")
    output.show(answer, f"{fact_id} is due at {webhook_id} now.", as_json=as_json)
