"""`unbroken streak` and `unbroken participant`: what may be done to a participant beside ticks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from unbroken_client.client import Unbroken
from unbroken_client.repairs import Repairs
from unbroken_client.results import Accepted, RestoreJob, StreakChanged, StreakPreview

from api.cli import output
from api.cli.connect.api_client import Where, client
from api.cli.connect.api_session import api_options
from api.cli.errors import CannotRun
from api.cli.fact_line import printable
from api.cli.options import json_option
from api.cli.progress import JobProgress

F = TypeVar("F", bound=Callable[..., Any])
POLL_SECONDS = 0.5  # between two looks at a job


@click.group("streak")
def group() -> None:
    """Pause, repair, restore or retract a participant's streak. Needs an admin key.

    Each change is applied once, kept with its reason, and published when a count changes.

    \b
    Example:
      unbroken streak restore user_42 daily_login --reason "Our outage"
      unbroken streak pause user_42 2026-07-01 2026-07-14 --reason Vacation
    """


def _options(command: F) -> F:
    """The options of every change with a preview."""
    preview = click.option(
        "--preview", is_flag=True, help="Print what the change would do; change nothing."
    )
    return preview(_plain_options(command))


def _plain_options(command: F) -> F:
    """The options of every change."""
    reason = click.option("--reason", metavar="TEXT", help="Why, for the ledger of changes.")
    return reason(api_options(json_option(command)))


@group.command(short_help="Protect the missed periods of a break.")
@click.argument("named", metavar="[PARTICIPANT] STREAK", nargs=-1, required=True)
@click.option(
    "--lost-between",
    "lost_between",
    nargs=2,
    metavar="FROM TO",
    help="Restore all who lost the streak between two days (both included) or instants.",
)
@click.option(
    "--participants",
    "listed",
    type=click.File(),
    metavar="FILE",
    help="Restore the participants of this file, one id a line; - is stdin.",
)
@_options
def restore(
    named: tuple[str, ...],
    lost_between: tuple[str, str] | None,
    listed: IO[str] | None,
    **given: Any,
) -> None:
    """Protect the missed periods of the last break, so that the count goes on.

    Of one participant, of those in a file, or of all who lost the streak in a span: a job, whose
    progress is shown until it ends. A streak is lost when its missed period ends: a daily one at
    the midnight after the missed day.

    \b
    Example:
      unbroken streak restore user_42 daily_login --reason "Our outage"
      unbroken streak restore daily_login --lost-between 2026-05-23 2026-05-24 --preview
      unbroken streak restore daily_login --lost-between 2026-05-23 2026-05-24 --reason "Our outage"
      unbroken streak restore daily_login --participants ids.txt --reason "A wrong clock" --json
    """
    if lost_between is None and listed is None:
        if len(named) != 2:
            raise CannotRun("give a participant and a streak, or --lost-between or --participants")
        _run(given, lambda repairs: repairs.restore(*named, given["reason"]))
        return
    if len(named) != 1 or (lost_between is not None and listed is not None):
        raise CannotRun("give one streak, and either --lost-between or --participants")
    ids = None if listed is None else [line.strip() for line in listed if line.strip()]
    with client(Where(given["url"], given["key"], given["path"])) as api:
        started = api.restores.start(named[0], ids, lost_between, given["reason"], given["preview"])
        ended = _followed(api, started)
    output.show(asdict(ended), _ended_line(ended), as_json=given["as_json"])


def _followed(api: Unbroken, job: RestoreJob) -> RestoreJob:
    """A restore of many once it has ended; interrupted, it goes on in the service."""
    with JobProgress.of("participants") as progress:
        while job.status == "running":
            progress.show(job.scanned, job.total)
            time.sleep(POLL_SECONDS)
            job = api.restores.get(job.streak_code, job.id)
        progress.show(job.scanned, job.total)
    return job


def _ended_line(job: RestoreJob) -> str:
    if job.is_preview:
        return f"{job.found} of {job.scanned} participants would be restored; nothing was changed."
    ended = "" if job.status == "done" else f" The restore was {printable(job.status)}."
    left = f"{job.nothing_to_restore} had nothing to restore, {job.refused} were refused"
    return f"{job.restored} restored; {left}.{ended}"


@group.command(short_help="Protect or record periods.")
@click.argument("participant_id", metavar="PARTICIPANT")
@click.argument("streak_code", metavar="STREAK")
@click.argument("periods", metavar="PERIOD...", nargs=-1, required=True)
@click.option("--recorded", "is_recorded", is_flag=True, help="Record them instead of protecting.")
@_options
def repair(
    participant_id: str,
    streak_code: str,
    periods: tuple[str, ...],
    is_recorded: bool,
    **given: Any,
) -> None:
    """Protect periods such as 2026-05-23, 2026-W21 or 2026-05, or record them.

    \b
    Example:
      unbroken streak repair user_42 daily_login 2026-05-22 2026-05-23 --reason "Hospital stay"
      unbroken streak repair user_42 daily_login 2026-05-23 --recorded --reason "A wrong clock"
    """
    _run(
        given,
        lambda repairs: repairs.repair(
            participant_id, streak_code, periods, is_recorded, given["reason"]
        ),
    )


@group.command(short_help="Protect a participant's days.")
@click.argument("participant_id", metavar="PARTICIPANT")
@click.argument("first_day", metavar="FROM")
@click.argument("last_day", metavar="TO")
@click.option(
    "--streak",
    "streak_codes",
    metavar="CODE",
    multiple=True,
    help="Only this streak; may be given several times.  [default: every streak]",
)
@_options
def pause(
    participant_id: str,
    first_day: str,
    last_day: str,
    streak_codes: tuple[str, ...],
    **given: Any,
) -> None:
    """Protect a participant's days from FROM to TO, both included, past or future.

    \b
    Example:
      unbroken streak pause user_42 2026-07-01 2026-07-14 --reason Vacation
    """
    codes = streak_codes or None
    _run(
        given,
        lambda repairs: repairs.pause(participant_id, first_day, last_day, codes, given["reason"]),
    )


@group.command(short_help="Take a tick or a recorded period back.")
@click.option("--tick", "tick_id", metavar="ID", help="Retract this tick.")
@click.option(
    "--period",
    "named",
    nargs=3,
    metavar="PARTICIPANT STREAK PERIOD",
    help="Retract this period with all its ticks.",
)
@click.option("--revoke", is_flag=True,
              help="Also take back badges and points of milestones no longer reached.")  # fmt: skip
@_options
def retract(tick_id: str | None, named: tuple[str, str, str] | None, **given: Any) -> None:
    """Take a tick, or a recorded period with all its ticks, out of a streak.

    A tick's period stays recorded while another tick holds it. Badges and points already given
    stay, unless --revoke takes back those of milestones that are no longer reached.

    \b
    Example:
      unbroken streak retract --tick 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f --reason "A mistake"
      unbroken streak retract --period user_42 daily_login 2026-05-23 --revoke
    """
    if (tick_id is None) == (named is None):
        raise CannotRun("give either --tick or --period")
    reason, revoke = given["reason"], given["revoke"]
    if named is not None:
        _run(given, lambda repairs: repairs.retract_period(*named, reason, revoke=revoke))
    elif tick_id is not None:
        _run(given, lambda repairs: repairs.retract_tick(tick_id, reason, revoke=revoke))


@click.group("participant")
def participant() -> None:
    """Merge participants. Needs an admin key.

    \b
    Example:
      unbroken participant merge user_42 --from guest_7f3a --reason "Signed up"
    """


@participant.command(short_help="Merge another participant into this one.")
@click.argument("participant_id", metavar="PARTICIPANT")
@click.option(
    "--from", "from_id", metavar="ID", required=True, help="The id that becomes an alias."
)
@_plain_options
def merge(participant_id: str, from_id: str, **given: Any) -> None:
    """Give PARTICIPANT all that another one has, and make the other's id its alias.

    Streaks are as if PARTICIPANT had recorded every tick. Later ticks of the alias count for
    PARTICIPANT. A merge cannot be undone; to repeat it changes nothing.

    \b
    Example:
      unbroken participant merge user_42 --from guest_7f3a --reason "Signed up"
    """
    path: Path = given["path"]
    with client(Where(given["url"], given["key"], path)) as api:
        done = api.repairs.merge(participant_id, from_id, given["reason"])
    output.show(asdict(done), _line(done), as_json=given["as_json"])


def _run(given: dict[str, Any], change: Callable[[Repairs[Any]], Any]) -> None:
    """Make a change and show what it did, or show what it would do."""
    path: Path = given["path"]
    is_preview, as_json = given["preview"], given["as_json"]
    with client(Where(given["url"], given["key"], path)) as api:
        done = change(api.previews if is_preview else api.repairs)
    if not is_preview:
        output.show(asdict(done), _line(done), as_json=as_json)
    elif as_json:
        output.show(asdict(done), "", as_json=True)
    else:
        _show_preview(done)


def _show_preview(preview: StreakPreview) -> None:
    streaks = [
        {"streak": printable(streak["streak_code"]), "now": streak["previous_count"],
         "then": streak["count"], "longest": streak["longest_count"]}
        for streak in preview.result["streaks"]
    ]  # fmt: skip
    output.show_rows(streaks, ("streak", "now", "then", "longest"), as_json=False)
    sent = ", ".join(fact["type"] for fact in preview.facts)
    click.echo(f"facts: {sent or 'none'}")
    click.echo("Nothing was changed: this is a preview.")


def _line(done: StreakChanged | Accepted) -> str:
    if isinstance(done, Accepted):
        return f"accepted, to be applied: {done.status_url}"
    counts = ", ".join(
        f"{printable(streak['streak_code'])} {streak['previous_count']} -> {streak['count']}"
        for streak in done.streaks
    )
    kind = done.kind.replace("_", " ")
    return f"{kind}: {printable(done.participant_id)}, {counts or 'no streak yet'}"
