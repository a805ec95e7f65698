"""The checker of the books: points, claims, tiers and challenges against what was sent and told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from tests.chaos.books import Books, Change, Movement, Redemption
from tests.chaos.checker import Verdict
from tests.chaos.found import Found, milestones_reached
from tests.chaos.history import Write
from tests.chaos.scene import CHALLENGES, DEFINITIONS, REWARDS, Side
from tests.chaos.trader import ID_FIELDS, REFUSED
from webhooks import facts


def check(
    verdict: Verdict, side: Side, books: Books, found: Found, writes: Sequence[Write]
) -> None:
    """Every accepted write was decided on once, the sums are right, and what happened was told."""
    mine = [one for one in writes if one.side == side.id and one.kind in ID_FIELDS]
    _check_settled(verdict, side, books, mine)
    _check_sent(verdict, side, books, mine)
    _check_sums(verdict, side, books)
    _check_stocks(verdict, side, books)
    _check_challenges(verdict, side, books, found)
    _check_facts(verdict, side, books, found)


# -- against what was sent -------------------------------------------------------------------


def _check_settled(verdict: Verdict, side: Side, books: Books, writes: Sequence[Write]) -> None:
    """In one ledger or among the rejections, once; a refusal that was told is among these."""
    settled = books.settled()
    for write in writes:
        if write.outcome != "ok":
            continue
        times = settled[str(write.id)]
        if times == 0:
            verdict.lost += 1
            verdict.add(side, f"{write.kind} {write.token} was accepted as {write.id} and is lost")
        if write.refusal and not books.rejected[str(write.id), write.refusal]:
            verdict.add(side, f"{write.token} was refused ({write.refusal}), and was not")
    for write_id, times in settled.items():
        if times > 1:
            verdict.doubled += 1
            verdict.add(side, f"{write_id} was decided on {times} times")


def _check_sent(verdict: Verdict, side: Side, books: Books, writes: Sequence[Write]) -> None:
    """What stands in a ledger was sent so, once, and nobody was told that it was refused."""
    by_token = {one.token: one for one in writes}
    seen: Counter[str | None] = Counter()
    for row in _asked(books):
        write = by_token.get(str(row.token))
        seen[row.token] += 1
        if write is None or _as_sent(write) != _as_kept(row):
            verdict.add(side, f"{row} was not sent so: {write}")
        elif write.outcome == "fail" or write.id not in (None, row.id):
            verdict.add(side, f"{row} was answered {write.outcome} {write.refusal}, as {write.id}")
        elif write.result is not None and not _is_as_told(write.result, row):
            verdict.add(side, f"{row} was answered {write.result}")
    for token, times in seen.items():
        if times > 1:
            verdict.doubled += 1
            verdict.add(side, f"{token} stands {times} times in a ledger")
    _check_rejected(verdict, side, books, writes)


def _asked(books: Books) -> list[Movement | Redemption | Change]:
    """The rows that callers asked for."""
    movements = [one for one in books.movements if one.kind in ("award", "deduct")]
    changes = [one for one in books.changes if one.source == "assigned"]
    return [*movements, *books.claims, *changes]


def _as_sent(write: Write) -> tuple[str, str, int]:
    cost = int(REWARDS[write.code]["points_cost"]) if write.kind == "claim" else write.amount
    return write.participant, write.code, cost


def _as_kept(row: Movement | Redemption | Change) -> tuple[str, str, int]:
    match row:
        case Movement():
            return row.participant, row.kind, row.signed
        case Redemption():
            return row.participant, row.code, row.cost
        case Change():
            return row.participant, row.code, 0


def _is_as_told(result: dict[str, Any], row: Movement | Redemption | Change) -> bool:
    if isinstance(row, Change):
        return bool(result["previous_code"] == row.previous)
    return bool(result["new_balance"] == row.balance)


def _check_rejected(verdict: Verdict, side: Side, books: Books, writes: Sequence[Write]) -> None:
    """No more refusals than there were writes that may have met one."""
    known = {one.id: one for one in writes if one.id}
    unknown: Counter[str] = Counter()
    for write_id, code in books.rejected:
        write = known.get(write_id)
        if code not in REFUSED:
            continue
        if write is None:
            unknown[code] += 1
        elif write.kind == "assignment" or write.amount > 0 or write.result is not None:
            verdict.add(side, f"{write} was refused: {code}")
    told = Counter(one.refusal for one in writes if one.outcome == "fail")
    unsure = sum(one.outcome == "maybe" for one in writes)
    for code in REFUSED:
        if not told[code] <= unknown[code] <= told[code] + unsure:
            verdict.add(side, f"{unknown[code]} unknown {code}, {told[code]} told, {unsure} maybe")


# -- against each other ----------------------------------------------------------------------


def _check_sums(verdict: Verdict, side: Side, books: Books) -> None:
    earned, spent = Counter[str](), Counter[str]()
    for one in books.movements:
        (earned if one.signed > 0 else spent)[one.participant] += abs(one.signed)
        if one.balance < 0:
            verdict.add(side, f"a balance below zero: {one}")
    claimed = Counter(one.participant for one in books.claims)
    for who, sums in books.sums.items():
        if (sums.earned, sums.spent) != (earned[who], spent[who]) or sums.spent > sums.earned:
            verdict.add(side, f"{who!r} has {sums}, the ledger {earned[who]} and {spent[who]}")
        if sums.claimed != claimed[who]:
            verdict.add(side, f"{who!r} has {sums.claimed} claims, the ledger {claimed[who]}")
    paid = Counter(
        (one.id, -one.signed, str(one.source)) for one in books.movements if _is_claim(one)
    )
    owed = Counter((one.id, one.cost, one.code) for one in books.claims if one.cost)
    if paid != owed:
        verdict.add(side, f"claims and what was paid differ: {list((paid - owed) + (owed - paid))}")


def _is_claim(one: Movement) -> bool:
    return one.kind == "claim"


def _check_stocks(verdict: Verdict, side: Side, books: Books) -> None:
    gone = Counter(one.code for one in books.claims)
    each = Counter((one.participant, one.code) for one in books.claims)
    for code, (stock, claimed) in books.stocks.items():
        if claimed != gone[code]:
            verdict.add(side, f"{claimed} {code} are gone, the ledger has {gone[code]}")
        if stock is not None and gone[code] > stock:
            verdict.add(side, f"{code} is oversold: {gone[code]} of {stock}")
    for (who, code), number in each.items():
        most = REWARDS[code]["max_claims_per_user"]
        if most is not None and number > most:
            verdict.add(side, f"{who!r} has claimed {code} {number} times")


def _check_challenges(verdict: Verdict, side: Side, books: Books, found: Found) -> None:
    """As far as what happened leads; completed once at the target, and paid once."""
    paid = Counter(
        (one.participant, str(one.source), one.signed)
        for one in books.movements
        if one.kind == "challenge"
    )
    owed: Counter[tuple[str, str, int]] = Counter()
    for code, values in CHALLENGES.items():
        happened = _happened(values["objective"], books, found)
        for who in books.sums:
            number, is_done = books.progress.get((who, code), (0, False))
            is_right = number >= values["target"] if is_done else number == happened[who]
            if not is_right or is_done != (happened[who] >= values["target"]):
                about = f"{number} of {values['target']}, {is_done}; happened: {happened[who]}"
                verdict.add(side, f"{who!r} in {code} is at {about}")
            owed.update([(who, code, int(values["points"]))] if is_done else [])
    if paid != owed:
        verdict.add(side, f"completed and paid differ: {list((paid - owed) + (owed - paid))}")
    _check_milestones(verdict, side, books, found)


def _happened(objective: dict[str, Any], books: Books, found: Found) -> Counter[str]:
    if objective["type"] == "points":
        happened: Counter[str] = Counter()
        for one in books.movements:
            happened[one.participant] += max(0, one.signed)
        return happened
    return Counter(
        row.participant
        for row in found.ticks
        if row.code == objective["streak_code"] and row.outcome != "repeated"
    )


def _check_milestones(verdict: Verdict, side: Side, books: Books, found: Found) -> None:
    """The points of a milestone once for each participant who has reached it."""
    paid = Counter(
        (one.participant, str(one.source), one.signed)
        for one in books.movements
        if one.kind == "milestone"
    )
    owed = Counter(
        (who, code, int(one["points"]))
        for who, code, reached in milestones_reached(found)
        for one in DEFINITIONS[code]["milestones"]
        if "points" in one and one["count"] == reached
    )
    if paid != owed:
        verdict.add(side, f"milestones and points differ: {list((paid - owed) + (owed - paid))}")


# -- against what was told -------------------------------------------------------------------


def _check_facts(verdict: Verdict, side: Side, books: Books, found: Found) -> None:
    """A fact for each movement, claim, change and completion; each goes on from the one before."""
    told: defaultdict[str, list[Any]] = defaultdict(list)
    for one in found.facts:
        told[one.kind].append(json.loads(one.body))
    moved = told[facts.POINTS_AWARDED] + told[facts.POINTS_DEDUCTED]
    happened: list[tuple[str, Counter[Any], Counter[Any]]] = [
        ("movements", Counter((one.id, one.balance) for one in books.movements),
         _told(moved, lambda one: (one["transaction_id"], one["balance"]))),
        ("claims", Counter((one.id, one.balance) for one in books.claims),
         _told(told[facts.REWARD_CLAIMED], lambda one: (one["claim_id"], one["balance"]))),
        ("changes of tiers", Counter(
            (one.source, one.previous, one.code)
            for one in books.changes if one.code != one.previous),
         _told(told[facts.TIER_CHANGED],
               lambda one: (one["source"], one["previous_tier_code"], one["tier_code"]))),
    ]  # fmt: skip
    completed = Counter(key for key, (_, is_done) in books.progress.items() if is_done)
    told_of = Counter(
        (one["participant_id"], one["payload"]["challenge_code"])
        for one in told[facts.CHALLENGE_COMPLETED]
    )
    for what, done, said in (*happened, ("challenges", completed, told_of)):
        if done != said:
            few = list((done - said) + (said - done))[:3]
            verdict.add(side, f"{what} and what was told of them differ: {few}")
    _check_order(verdict, side, books, found)


def _told(bodies: Sequence[Any], key: Callable[[Any], Any]) -> Counter[Any]:
    return Counter(key(one["payload"]) for one in bodies)


def _check_order(verdict: Verdict, side: Side, books: Books, found: Found) -> None:
    """In the order of their numbers each balance and each tier goes on from the one before."""
    balances: Counter[str] = Counter()
    tiers: dict[str, str | None] = {}
    for one in found.facts:  # in the order of their numbers
        who, payload = str(one.participant), json.loads(one.body)["payload"]
        if one.kind in (facts.POINTS_AWARDED, facts.POINTS_DEDUCTED):
            sign = 1 if one.kind == facts.POINTS_AWARDED else -1
            if payload["balance"] != balances[who] + sign * payload["amount"]:
                verdict.add(side, f"{who!r} had {balances[who]}, and then {payload}")
            balances[who] = payload["balance"]
        elif one.kind == facts.TIER_CHANGED:
            if payload["previous_tier_code"] != tiers.get(who):
                verdict.add(side, f"{who!r} was in {tiers.get(who)}, and then {payload}")
            tiers[who] = payload["tier_code"]
    for who, sums in books.sums.items():
        if (sums.earned - sums.spent, sums.tier) != (balances[who], tiers.get(who)):
            last = f"{balances[who]} and {tiers.get(who)}"
            verdict.add(side, f"{who!r} has {sums}, and was last told {last}")
