"""The client: one object with the operations of Unbroken that a backend needs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar, Unpack
from urllib.parse import quote

from unbroken_client import many
from unbroken_client.many import AWARDS, TICKS, Sending
from unbroken_client.outages import Outages
from unbroken_client.points import Points
from unbroken_client.repairs import previews, repairs
from unbroken_client.restores import Restores
from unbroken_client.results import (
    Accepted,
    AtRisk,
    Awarded,
    AwardInput,
    History,
    ItemResult,
    Outcome,
    Period,
    Profile,
    Recorded,
    StreakOf,
    TickDetails,
    TickInput,
    read,
)
from unbroken_client.transport import Call, Retries, Transport
from unbroken_client.wish import Wish

T = TypeVar("T")
POLL_SECONDS = 0.2  # between looks for what became of a write


class Unbroken:
    """Unbroken at a URL, with a key. Threads may share it; close it, or use it with `with`.

    Every method raises ApiError (see errors.py) when the API refuses and Unreachable when it does
    not answer, after the retries.
    """

    def __init__(self, url: str, key: str, retries: Retries | None = None) -> None:
        self.transport = Transport(url, key, retries or Retries())
        self.points = Points(self.transport, self._write)
        self.outages = Outages(self.transport)
        self.repairs = repairs(self.transport)
        self.previews = previews(self.transport)
        self.restores = Restores(self.transport)

    def __enter__(self) -> Unbroken:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Unbroken({self.transport.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    # -- writing -----------------------------------------------------------------------------

    def record(
        self,
        participant_id: str,
        streak_code: str,
        wish: Wish | None = None,
        **details: Unpack[TickDetails],
    ) -> Recorded | Accepted:
        """Record a tick. The result is Accepted if the API did not wait for the worker."""
        body = {"participant_id": participant_id, "streak_code": streak_code, **details}
        document = self._write("/streaks/record", body, wish or Wish())
        if "status_url" in document:
            return Accepted("ticks", document["tick_id"], document["status_url"])
        return read(Recorded, document)

    def record_many(
        self, ticks: Iterable[TickInput], sending: Sending | None = None
    ) -> Iterator[ItemResult]:
        """Record any number of ticks, read lazily; one result per tick, in order.

        An iterator: nothing is sent unless it is read.
        """
        return many.send_all(self.transport, TICKS, ticks, sending or Sending())

    def award(
        self,
        participant_id: str,
        badge_code: str,
        metadata: Mapping[str, Any] | None = None,
        wish: Wish | None = None,
    ) -> Awarded | Accepted:
        """Award a badge; if it is earned already, the first award is kept."""
        body = {"participant_id": participant_id, "badge_code": badge_code, "metadata": metadata}
        document = self._write("/badges/award", body, wish or Wish())
        if "status_url" in document:
            return Accepted("awards", document["award_id"], document["status_url"])
        return read(Awarded, document)

    def award_many(
        self, awards: Iterable[AwardInput], sending: Sending | None = None
    ) -> Iterator[ItemResult]:
        """Award any number of badges, like record_many."""
        return many.send_all(self.transport, AWARDS, awards, sending or Sending())

    def outcome(self, accepted: Accepted, wait_seconds: float = 0) -> Outcome:
        """The result of a write; waits until it is known or the time is over."""
        ends = time.monotonic() + wait_seconds
        while True:
            found = read(Outcome, self._get(f"/{accepted.kind}/{accepted.id}"))
            if found.status != "accepted" or time.monotonic() >= ends:
                return found
            time.sleep(POLL_SECONDS)

    def _write(self, path: str, body: Mapping[str, Any], wish: Wish) -> Any:
        sent = {name: value for name, value in body.items() if value is not None}
        return self.transport.call(Call("POST", path, sent, headers=wish.headers()))

    # -- reading -----------------------------------------------------------------------------

    def profile(self, participant_id: str) -> Profile:
        """The profile of a participant; raises NotFound if no participant has this id."""
        # By the query: it works behind a proxy that decodes paths, too.
        return read(Profile, self._get("/participants", participant_id=participant_id))

    def participant(self, participant_id: str, **fields: Any) -> Profile:
        """Create a participant, or change the given fields: `display_name`, `avatar_url`,
        `attributes`, `timezone`."""
        body = {"participant_id": participant_id, **fields}
        return read(Profile, self.transport.call(Call("POST", "/participants", body)))

    def state(self, participant_id: str, *sections: str) -> Mapping[str, Any]:
        """Sections of a participant's state (default: all); empty for an unknown id."""
        wanted = {"include": ",".join(sections)} if sections else {}
        found: Mapping[str, Any] = self._get(f"{_at(participant_id)}/state", **wanted)
        return found

    def export_participant(self, participant_id: str) -> Mapping[str, Any]:
        """Everything about a participant that erasing it would delete; needs an admin key. Raises
        NotFound for one never seen, or erased."""
        found: Mapping[str, Any] = self._get(f"{_at(participant_id)}/export")
        return found

    def streaks(self, participant_id: str) -> list[StreakOf]:
        """The participant's active streaks, live."""
        found = self._get(f"{_at(participant_id)}/streaks")
        return [read(StreakOf, one) for one in found["streaks"]]

    def history(
        self,
        participant_id: str,
        streak_code: str,
        first: str | None = None,
        last: str | None = None,
    ) -> History:
        """A streak period by period, between two days (`2026-05-23`)."""
        days = {"from": first, "to": last}
        wanted = {name: day for name, day in days.items() if day is not None}
        path = f"{_at(participant_id)}/streaks/{quote(streak_code, safe='')}/history"
        found = self._get(path, **wanted)
        return read(History, found | {"periods": [read(Period, one) for one in found["periods"]]})

    def at_risk(self, streak_code: str, min_count: int = 1) -> Iterator[AtRisk]:
        """All participants at risk of losing a streak, page by page."""
        path = f"/streaks/{quote(streak_code, safe='')}/at-risk"
        after: dict[str, Any] = {}
        while True:
            page = self._get(path, min_count=min_count, limit=100, **after)
            yield from (read(AtRisk, one) for one in page["items"])
            if page["next_cursor"] is None:
                return
            after = {"after": page["next_cursor"]}

    def facts(
        self, after: str | None = None, **filters: str
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """The feed of facts from a cursor on, until there are no more now: each fact, and the
        cursor of its page. Filters: `types`, `participant_id`, `streak_code`.

        A cursor is to be kept once all facts of its page are dealt with. `after="latest"` has no
        items: ask for the cursor with `facts_page`.
        """
        while True:
            page = self.facts_page(after, **filters)
            yield from ((one, page["next_cursor"]) for one in page["items"])
            if page["next_cursor"] == after or after == "latest":
                return
            after = page["next_cursor"]

    def facts_page(self, after: str | None = None, **filters: str) -> Mapping[str, Any]:
        """One page of the feed: `items` and `next_cursor`."""
        cursor = {} if after is None else {"after": after}
        found: Mapping[str, Any] = self._get("/facts", limit=500, **cursor, **filters)
        return found

    def participants(self, **filters: str) -> Iterator[Mapping[str, Any]]:
        """All participants, oldest first, page by page; needs an admin key."""
        number, seen = 1, 0
        while True:
            window = {"page": number, "page_size": 100, "sort": "created_at"}
            page = self._get("/admin/participants", **window, **filters)
            yield from page["items"]
            number, seen = number + 1, seen + len(page["items"])
            if seen >= page["total"] or not page["items"]:
                return

    def _get(self, path: str, **params: Any) -> Any:
        return self.transport.call(Call("GET", path, params=params))


def _at(participant_id: str) -> str:
    return f"/participants/{quote(participant_id, safe='')}"


def raise_for_error(results: Iterable[ItemResult]) -> None:
    """Raise the first error among results of a batch."""
    for one in results:
        if one.error is not None:
            raise one.error
