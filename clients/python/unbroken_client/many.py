"""Batches of at most 1,000 items and 1 MB; each has an Idempotency-Key, so no retry doubles it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from unbroken_client.errors import (
    ApiError,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    problem_error,
)
from unbroken_client.results import ItemResult
from unbroken_client.transport import Call, Transport

ITEMS_MAX = 1_000  # the API's own limit
BYTES_MAX = 950_000  # of 1 MB; the rest is room for the list around the items
_FRAME_BYTES = 2  # a comma and a space between two items
REFUSED_SECONDS_FIRST, REFUSED_SECONDS_MAX = 1.0, 15.0


@dataclass(frozen=True, slots=True)
class Kind:
    """The endpoint for one type of items."""

    path: str
    name: str  # of the list in the body
    id_field: str


TICKS = Kind("/streaks/record/batch", "ticks", "tick_id")
AWARDS = Kind("/badges/award/batch", "awards", "award_id")
PAUSES = Kind("/pauses/batch", "pauses", "streak_change_id")
FREEZES = Kind("/freezes/batch", "freezes", "streak_change_id")
REPAIRS = Kind("/repairs/batch", "repairs", "streak_change_id")
RESTORES = Kind("/restores/batch", "restores", "streak_change_id")
RETRACTIONS = Kind("/retractions/batch", "retractions", "streak_change_id")
MERGES = Kind("/merges/batch", "merges", "streak_change_id")
POINTS = Kind("/points/award-batch", "awards", "transaction_id")


@dataclass(frozen=True, slots=True)
class Sending:
    """How batches are sent."""

    facts: bool = True  # False: states and ledgers change, and nobody is told; admin keys only
    items_max: int = ITEMS_MAX
    # How long items over a cap are tried again; 0: their results say so at once.
    patience_seconds: float = 0.0
    # False, with facts=False: no milestone and no challenge counts ticks and awards.
    effects: bool = True

    @property
    def params(self) -> Mapping[str, str]:
        """The query parameters."""
        wishes = {"facts": self.facts, "effects": self.effects}
        return {name: "false" for name, is_wanted in wishes.items() if not is_wanted}


def batches(
    items: Iterable[Mapping[str, Any]], items_max: int = ITEMS_MAX
) -> Iterator[list[Mapping[str, Any]]]:
    """Split items, in order, into lists that fit one request. Holds one list at a time."""
    held: list[Mapping[str, Any]] = []
    size = 0
    for item in items:
        bytes_more = len(json.dumps(item)) + _FRAME_BYTES
        if held and (len(held) >= items_max or size + bytes_more > BYTES_MAX):
            yield held
            held, size = [], 0
        held.append(item)
        size += bytes_more
    if held:
        yield held


def send_all(
    transport: Transport, kind: Kind, items: Iterable[Mapping[str, Any]], how: Sending
) -> Iterator[ItemResult]:
    """Send batch after batch; one result per item in order."""
    run, first = uuid.uuid4().hex, 0
    for batch in batches(items, how.items_max):
        for result in send(transport, kind, batch, (f"{run}:{first}", how)):
            yield replace(result, index=result.index + first)
        first += len(batch)


def send(
    transport: Transport,
    kind: Kind,
    batch: Sequence[Mapping[str, Any]],
    keyed: tuple[str, Sending],
) -> list[ItemResult]:
    """Send one batch under a key, and those over a cap again under keys made from it.

    The same batch under the same key has the same results, and no other effect.
    """
    key, how = keyed
    ends = time.monotonic() + how.patience_seconds
    results = _post(transport, kind, batch, (key, how))
    for nth in count(1):
        limited = [one.index for one in results if _kept_nothing(one.error)]
        pause = min(REFUSED_SECONDS_FIRST * 2 ** (nth - 1), REFUSED_SECONDS_MAX)
        if not limited or time.monotonic() + pause > ends:
            break
        transport.sleep(pause)
        again = [batch[index] for index in limited]
        told = _post(transport, kind, again, (f"{key}:{nth}", how))
        for index, one in zip(limited, told, strict=True):
            results[index] = replace(one, index=index)
    return results


def _kept_nothing(error: ApiError | None) -> bool:
    """Whether an item may be sent again under another key."""
    is_refused = isinstance(error, (RateLimited, Unavailable))
    return is_refused and not isinstance(error, OutcomeUnknown)


def _post(
    transport: Transport, kind: Kind, items: Sequence[Mapping[str, Any]], keyed: tuple[str, Sending]
) -> list[ItemResult]:
    key, how = keyed
    call = Call(
        "POST",
        kind.path,
        {kind.name: list(items)},
        how.params,
        {"Idempotency-Key": key},
    )
    return [_result(kind, one) for one in transport.call(call)["results"]]


def _result(kind: Kind, one: Mapping[str, Any]) -> ItemResult:
    error = one.get("error")
    if error is not None:
        return ItemResult(one["index"], error=problem_error(error))
    return ItemResult(one["index"], id=one[kind.id_field])
