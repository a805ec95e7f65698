"""`unbroken tick` and `unbroken award`: submit one write and show its result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from unbroken_client.results import Accepted, Awarded, Recorded, TickDetails
from unbroken_client.wish import Wish

from api.cli import output
from api.cli.connect.api_client import Where, client
from api.cli.connect.api_session import api_options
from api.cli.errors import CannotRun
from api.cli.fact_line import printable
from api.cli.options import json_option

F = TypeVar("F", bound=Callable[..., Any])


def _how(command: F) -> F:
    """The options for the answer of a write."""
    for option in (
        click.option("--async", "is_async", is_flag=True, help="Do not wait for the worker."),
        click.option(
            "--idempotency-key",
            metavar="KEY",
            help="Repeats of a write with the same key count once.  [default: a new key]",
        ),
        click.option("--metadata", metavar="JSON", help="A JSON object to store with it."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("participant_id", metavar="PARTICIPANT")
@click.argument("streak_code", metavar="STREAK")
@click.option(
    "--at",
    metavar="INSTANT",
    help="Instant of the tick, such as 2026-05-23T08:15:00Z.  [default: now]",
)
@click.option(
    "--timezone", metavar="ZONE", help="Time zone whose day counts, such as Australia/Sydney."
)
@click.option("--value", type=float, help="What it adds, for a target of kind value.")
@_how
@api_options
@json_option
def tick(participant_id: str, streak_code: str, as_json: bool, **given: Any) -> None:
    """Record a tick of a participant for a streak, and print the new count.

    \b
    Example:
      unbroken tick user_42 daily_login
      unbroken tick user_42 daily_login --at 2026-05-23T08:15:00+10:00 --timezone Australia/Sydney
    """
    details: TickDetails = {}
    if given["at"] is not None:
        details["timestamp"] = given["at"]
    if given["timezone"] is not None:
        details["timezone"] = given["timezone"]
    if given["metadata"] is not None:
        details["metadata"] = _object(given["metadata"])
    if given["value"] is not None:
        details["value"] = given["value"]
    with client(_where(given)) as api:
        done = api.record(participant_id, streak_code, _wish(given), **details)
    output.show(asdict(done), _tick_line(done), as_json=as_json)


@click.command()
@click.argument("participant_id", metavar="PARTICIPANT")
@click.argument("badge_code", metavar="BADGE")
@_how
@api_options
@json_option
def award(participant_id: str, badge_code: str, as_json: bool, **given: Any) -> None:
    """Award a badge to a participant. A badge that is earned already keeps its first award.

    \b
    Example:
      unbroken award user_42 power_user --metadata '{"trigger": "10th_login"}'
    """
    metadata = None if given["metadata"] is None else _object(given["metadata"])
    with client(_where(given)) as api:
        done = api.award(participant_id, badge_code, metadata, _wish(given))
    output.show(asdict(done), _award_line(done), as_json=as_json)


def _where(given: dict[str, Any]) -> Where:
    path: Path = given["path"]
    return Where(given["url"], given["key"], path)


def _wish(given: dict[str, Any]) -> Wish:
    return Wish(respond_async=given["is_async"], idempotency_key=given["idempotency_key"])


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CannotRun('--metadata must be a JSON object, like \'{"source": "app"}\'')
    return value


def _tick_line(done: Recorded | Accepted) -> str:
    if isinstance(done, Accepted):
        return f"accepted, to be applied: {done.status_url}"
    record = ", a new record" if done.is_new_record else ""
    return (
        f"{done.outcome}: {printable(done.participant_id)} is at {done.new_count} of"
        f" {done.streak_code} in {done.period_key} (before: {done.previous_count}{record})"
    )


def _award_line(done: Awarded | Accepted) -> str:
    if isinstance(done, Accepted):
        return f"accepted, to be applied: {done.status_url}"
    verb = "had earned" if done.already_earned else "earned"
    return f"{printable(done.participant_id)} {verb} {printable(done.badge_name)}, {done.earned_at}"
