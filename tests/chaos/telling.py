"""The checker of what was told: facts against changes, receivers against facts."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from tests.chaos.checker import Verdict
from tests.chaos.found import FactRow, Found, milestones_reached
from tests.chaos.scene import MENDED, Destination, Side, wants

RECORDED, MILESTONE = "behavior.streak_recorded", "behavior.streak_milestone"
AWARDED = "badge.awarded"
ENDINGS = {"behavior.streak_at_risk": "expires_at", "behavior.streak_broken": "broken_at"}


def check_facts(verdict: Verdict, side: Side, found: Found) -> None:
    """One fact for each change, and none for anything else; numbered without gaps."""
    bodies = [(one, json.loads(one.body)) for one in found.facts]
    for one, body in bodies:
        if (body["tenant"], body["mode"]) != (side.tenant.slug, side.tenant.mode):
            verdict.add(side, f"fact {one.id} is of {body['tenant']} {body['mode']}")
    told: defaultdict[str, list[Any]] = defaultdict(list)
    for _, body in bodies:
        told[body["type"]].append(body)
    _compare(verdict, side, "changes", _changes(found), _recorded(told[RECORDED]))
    _compare(
        verdict, side, "milestones", Counter(milestones_reached(found)), _reached(told[MILESTONE])
    )
    awarded = Counter(
        (one["participant_id"], one["payload"]["badge_code"]) for one in told[AWARDED]
    )
    _compare(verdict, side, "badges", Counter(found.badges), awarded)
    _check_sequences(verdict, side, found)
    _check_endings(verdict, side, bodies)


def _compare(
    verdict: Verdict, side: Side, what: str, done: Counter[Any], told: Counter[Any]
) -> None:
    for kind, more in (
        ("told of and not made", told - done),
        ("made and not told of", done - told),
    ):
        if more:
            verdict.add(side, f"{more.total()} {what} were {kind}: {list(more)[:3]}")


def _changes(found: Found) -> Counter[Any]:
    return Counter(row.id for row in found.ticks if row.outcome != "repeated")


def _recorded(bodies: list[Any]) -> Counter[Any]:
    return Counter(one["payload"]["tick_id"] for one in bodies)


def _reached(bodies: list[Any]) -> Counter[Any]:
    return Counter(
        (one["participant_id"], one["payload"]["streak_code"], one["payload"]["milestone"])
        for one in bodies
    )


def _check_sequences(verdict: Verdict, side: Side, found: Found) -> None:
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for one in found.facts:
        if one.participant is not None and one.sequence is not None:
            numbers[one.participant].append(one.sequence)
    for who, last in found.sequences.items():
        if numbers[who] != list(range(1, last + 1)):
            verdict.add(side, f"the facts of {who!r} are not numbered 1 to {last}: {numbers[who]}")


def _check_endings(verdict: Verdict, side: Side, bodies: list[tuple[FactRow, Any]]) -> None:
    """Nobody is told twice in a row of the same danger or the same end."""
    last: dict[Any, Any] = {}
    for _, body in bodies:
        until = body["payload"].get(ENDINGS.get(body["type"], ""))
        key = (body["participant_id"], body["payload"].get("streak_code"), body["type"])
        if key[1] == MENDED:  # a break that was corrected may happen after all
            continue
        if until is not None and last.get(key) == until:
            verdict.add(side, f"told twice: {key} until {until}")
        if until is not None:
            last[key] = until


def check_deliveries(verdict: Verdict, side: Side, found: Found) -> None:
    """Every destination was sent every fact that it wants, as it is, and nothing else."""
    facts = {one.id: one for one in found.facts}
    for destination in side.destinations:
        about = f"destination {destination.event_types}"
        mine = {
            fact: one for (hook, fact), one in found.deliveries.items() if hook == destination.id
        }
        wanted = {one.id for one in found.facts if wants(destination, one.kind)}
        unsettled = [fact for fact in mine if mine[fact] != "delivered"]
        if unsettled:
            verdict.add(side, f"{about}: {len(unsettled)} are {Counter(mine.values())}")
        people = {fact for fact in wanted if facts[fact].participant is not None}
        if people - mine.keys() or mine.keys() - wanted:
            verdict.add(side, f"{about}: facts and deliveries do not match")
        _check_receiver(verdict, side, destination, facts, set(mine) - set(unsettled))


def _check_receiver(
    verdict: Verdict,
    side: Side,
    destination: Destination,
    facts: dict[str, FactRow],
    delivered: set[str],
) -> None:
    about, receiver = f"destination {destination.event_types}", destination.receiver
    if receiver.invalid:
        verdict.add(side, f"{about}: {len(receiver.invalid)} signatures do not verify")
    bodies = receiver.bodies()
    missing = delivered - bodies.keys()
    if missing:
        verdict.add(side, f"{about}: {len(missing)} are delivered and never arrived")
    for fact, texts in bodies.items():
        if fact not in facts or texts != {facts[fact].body.encode()}:
            verdict.add(side, f"{about}: {fact} arrived, and is not what is stored")
    if destination.is_ordered:
        _check_order(verdict, side, destination, facts)


def _check_order(
    verdict: Verdict, side: Side, destination: Destination, facts: dict[str, FactRow]
) -> None:
    """Nothing arrives before what stands before it has arrived."""
    latest: dict[str, int] = {}
    seen: set[str] = set()
    for request in destination.receiver.requests:
        fact = facts.get(request.id)
        if fact is None or request.id in seen or fact.participant is None:
            continue
        seen.add(request.id)
        number = fact.sequence or 0
        if number < latest.get(fact.participant, 0):
            verdict.add(
                side, f"{fact.participant!r}: {number} came after {latest[fact.participant]}"
            )
        latest[fact.participant] = number
