"""The checks of `unbroken loadtest`: states match the accepted days, each day has a fact."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from datetime import date
from typing import Any

from unbroken_client.client import Unbroken
from unbroken_client.transport import Call

from api.cli.loadtest.load import LoadPlan, LoadResult, Pair
from models.rules.streaks import Rules, walk

QUIET_SECONDS_MAX = 120.0  # for the workers to apply the accepted ticks
POLL_SECONDS = 0.5
RECORDED = "behavior.streak_recorded"


def prepare(api: Unbroken, plan: LoadPlan) -> str:
    """Create the streak; return the feed's cursor before it."""
    body = {"code": plan.mark, "name": "Load test", "period": "daily"}
    api.transport.call(Call("POST", "/streaks", body, is_safe=False))
    return str(api.facts_page("latest")["next_cursor"])


def check(api: Unbroken, plan: LoadPlan, result: LoadResult, cursor: str) -> dict[str, Any]:
    """Wait for a fact of every accepted day, then compare states and facts."""
    sure, unsure = set(result.accepted), set(result.unsure)
    published, waited = _facts(api, plan, cursor, sure)
    doubled = sum(count - 1 for count in published.values())
    wrong = _wrong_states(api, plan, set(published))
    missing, unknown = sure - published.keys(), published.keys() - sure - unsure
    return {
        "applied_after_seconds": round(waited, 2),
        "days_accepted": len(sure),
        "facts": published.total(),
        "facts_missing": len(missing),
        "facts_doubled": doubled,
        "facts_unknown": len(unknown),
        "states_checked": len({participant for participant, _ in published}),
        "states_wrong": wrong,
        "is_right": not (missing or unknown or doubled or wrong),
    }


def _facts(
    api: Unbroken, plan: LoadPlan, cursor: str, sure: set[Pair]
) -> tuple[Counter[Pair], float]:
    """The facts of the streak, once all are there or the time is over."""
    published: Counter[Pair] = Counter()
    began = time.monotonic()
    while True:
        page = api.facts_page(cursor, streak_code=plan.mark, types=RECORDED)
        for fact in page["items"]:
            published[fact["participant_id"], fact["payload"]["period_key"]] += 1
        is_end = page["next_cursor"] == cursor
        cursor = page["next_cursor"]
        waited = time.monotonic() - began
        if is_end and (sure <= published.keys() or waited > QUIET_SECONDS_MAX):
            return published, waited
        if is_end:
            time.sleep(POLL_SECONDS)


def _wrong_states(api: Unbroken, plan: LoadPlan, days: set[Pair]) -> int:
    """The number of participants with wrong days or a wrong longest count."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for participant, day in days:
        wanted[participant].add(day)
    return sum(
        not _is_right(api, plan, participant, posted) for participant, posted in wanted.items()
    )


def _is_right(api: Unbroken, plan: LoadPlan, participant: str, days: set[str]) -> bool:
    past = api.history(participant, plan.mark)
    recorded = {period.period_key for period in past.periods if period.status == "recorded"}
    (streak,) = [streak for streak in api.streaks(participant) if streak.code == plan.mark]
    numbers = sorted(date.fromisoformat(day).toordinal() for day in days)
    expected = walk(tuple((number, number + 1) for number in numbers), Rules(0, True))
    return recorded == days and streak.longest_count == expected.longest


def clean_up(api: Unbroken, plan: LoadPlan) -> None:
    """Erase the participants and deactivate the streak: definitions are never deleted."""
    for participant in [entry["participant_id"] for entry in api.participants(search=plan.mark)]:
        api.transport.call(Call("DELETE", f"/participants/{participant}"))
    api.transport.call(Call("DELETE", f"/streaks/{plan.mark}"))
