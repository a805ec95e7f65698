"""`unbroken profile`: a participant's profile with a calendar of each streak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text
from unbroken_client.results import History, Period, Profile, StreakOf

from api.cli import output
from api.cli.connect.api_client import Where, client
from api.cli.connect.api_session import api_options
from api.cli.fact_line import printable
from api.cli.options import json_option

STRIP_PERIODS = 28  # four weeks of days
LABEL_COLUMNS = 14
_MARKS = {
    "recorded": ("█", "green"),
    "grace": ("▒", "yellow"),
    "freeze": ("❄", "blue"),
    "protected": ("-", "blue"),
    "missed": ("·", "red"),
    "pending": ("_", "cyan"),
}
_STYLES = {"active": "green", "at_risk": "yellow", "broken": "red", "paused": "cyan"}

Shown = Sequence[tuple[StreakOf, History]]


@click.command(short_help="Show a participant, with a calendar of each streak.")
@click.argument("participant_id", metavar="PARTICIPANT")
@api_options
@json_option
def profile(
    participant_id: str, url: str | None, key: str | None, path: Path, as_json: bool
) -> None:
    """Show a participant: points, tier, badges, and each streak with its last 28 periods.

    \b
    In the calendar:  █ recorded   ▒ forgiven by grace   ❄ saved by a freeze   - protected
                      · missed   _ not recorded yet
    \b
    Example:
      unbroken profile user_42
      unbroken profile user_42 --json
    """
    with client(Where(url, key, path)) as api:
        found = api.profile(participant_id)
        streaks = [
            (streak, api.history(participant_id, streak.code))
            for streak in api.streaks(participant_id)
        ]
    if as_json:
        shown = [asdict(streak) | {"history": asdict(past)["periods"]} for streak, past in streaks]
        output.show({"profile": asdict(found), "streaks": shown}, "", as_json=True)
        return
    for line in _lines(found, streaks):
        output.show_line(line)


def _lines(found: Profile, streaks: Shown) -> Iterator[Text]:
    name = printable(found.participant_id, 255)
    if found.display_name:
        name = f"{printable(found.display_name)}  ({name})"
    yield Text(name, "bold")
    if not found.is_active:
        yield _row("status", "not active: writes are refused")
    points, tier = found.points, found.tier
    earned, spent = points["total_earned"], points["total_spent"]
    yield _row("points", f"{points['balance']}  (earned {earned}, spent {spent})")
    yield _row("tier", printable(tier["name"]) if tier else "-")
    yield _row("badges", ", ".join(printable(badge["name"]) for badge in found.badges) or "-")
    yield _row("events", f"{found.total_events}, the last {found.last_seen_at or 'never'}")
    for streak, past in streaks:
        yield Text("")
        yield from _streak(streak, past)


def _streak(streak: StreakOf, past: History) -> Iterator[Text]:
    head = Text(f"{printable(streak.code):{LABEL_COLUMNS - 2}}  ", "bold")
    head.append(
        f"{streak.current_count} {_unit(streak)}  longest {streak.longest_count}  ", "default"
    )
    yield head.append(streak.status.replace("_", " "), _STYLES.get(streak.status, "default"))
    yield Text(" " * LABEL_COLUMNS) + strip(past.periods)
    if streak.expires_at:
        left = f"grace left {streak.grace_remaining}"
        if streak.freezes_remaining:
            left += f", freezes left {streak.freezes_remaining}"
        yield _row("", f"breaks {streak.expires_at}, {left}")
    if streak.is_protected:
        yield _row("", f"protected now: {printable(streak.protected_by or '')}")


def _unit(streak: StreakOf) -> str:
    noun = {"daily": "day", "weekly": "week", "monthly": "month"}.get(streak.period, streak.period)
    return noun if streak.current_count == 1 else f"{noun}s"


def strip(periods: Sequence[Period]) -> Text:
    """The last periods, one mark each, between the first and the last period key."""
    last = periods[-STRIP_PERIODS:]
    if not last:
        return Text("-")
    made = Text(f"{last[0].period_key} ")
    for period in last:
        made.append(*_MARKS.get(period.status, ("?", "default")))
    return made.append(f" {last[-1].period_key}", "default")


def _row(label: str, value: str) -> Text:
    return Text(f"{label:{LABEL_COLUMNS}}", "dim") + Text(value, "not dim")
