"""Repairs: what may be done to a participant's streaks beside ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from unbroken_client.many import (
    FREEZES,
    PAUSES,
    REPAIRS,
    RESTORES,
    RETRACTIONS,
    Sending,
    send_all,
)
from unbroken_client.results import Accepted, ItemResult, StreakChanged, StreakPreview, read
from unbroken_client.transport import Call, Transport
from unbroken_client.wish import Wish

Done = StreakChanged | Accepted
Items = Iterable[Mapping[str, Any]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Repairs(Generic[Result]):
    """Pauses, freezes, repairs and retractions. All but `buy_freezes` need an admin key.

    `Unbroken.repairs` makes them; `Unbroken.previews` has the same methods, and writes nothing.
    """

    transport: Transport
    read: Callable[[Mapping[str, Any]], Result]
    query: Mapping[str, str] = field(default_factory=dict)  # of every change

    def pause(
        self,
        participant_id: str,
        first_day: str,
        last_day: str,
        streak_codes: Sequence[str] | None = None,
        reason: str | None = None,
        wish: Wish | None = None,
    ) -> Result:
        """Protect local days (`2026-07-01`), both included, in every streak or in some."""
        body: dict[str, Any] = {"from": first_day, "to": last_day, "reason": reason}
        if streak_codes is not None:
            body["streak_codes"] = list(streak_codes)
        return self._post(f"{_person(participant_id)}/pauses", body, wish)

    def remove_pause(self, participant_id: str, pause_id: str, reason: str | None = None) -> Result:
        """Remove a pause: its days are as if it had never been."""
        path = f"{_person(participant_id)}/pauses/{quote(pause_id, safe='')}"
        return self._delete(path, reason)

    def repair(
        self,
        participant_id: str,
        streak_code: str,
        periods: Sequence[str],
        is_recorded: bool = False,
        reason: str | None = None,
        wish: Wish | None = None,
    ) -> Result:
        """Protect periods (`2026-05-23`, `2026-W21`, `2026-05`), or record them."""
        how = "recorded" if is_recorded else "protected"
        body = {"periods": list(periods), "as": how, "reason": reason}
        return self._post(f"{_streak(participant_id, streak_code)}/repair", body, wish)

    def restore(
        self,
        participant_id: str,
        streak_code: str,
        reason: str | None = None,
        wish: Wish | None = None,
    ) -> Result:
        """Protect the missed periods of the last break, so that the count goes on."""
        path = f"{_streak(participant_id, streak_code)}/restore"
        return self._post(path, {"reason": reason}, wish)

    def retract_tick(self, tick_id: str, reason: str | None = None, revoke: bool = False) -> Result:
        """Take a tick back; with `revoke` also what milestones gave that are no longer reached."""
        return self._delete(f"/ticks/{quote(tick_id, safe='')}", reason, revoke)

    def retract_period(
        self,
        participant_id: str,
        streak_code: str,
        period_key: str,
        reason: str | None = None,
        revoke: bool = False,
    ) -> Result:
        """Take a recorded period back, with all its ticks; `revoke` as for a tick."""
        path = f"{_streak(participant_id, streak_code)}/periods/{quote(period_key, safe='')}"
        return self._delete(path, reason, revoke)

    def grant_freezes(
        self,
        participant_id: str,
        streak_code: str,
        amount: int,
        reason: str | None = None,
        wish: Wish | None = None,
    ) -> Result:
        """Give freezes."""
        path = f"{_streak(participant_id, streak_code)}/freezes/grant"
        return self._post(path, {"amount": amount, "reason": reason}, wish)

    def buy_freezes(
        self, participant_id: str, streak_code: str, amount: int = 1, wish: Wish | None = None
    ) -> Result:
        """Buy freezes for points; raises InsufficientPoints without taking any."""
        path = f"{_streak(participant_id, streak_code)}/freezes/buy"
        return self._post(path, {"amount": amount}, wish)

    def freezes(self, participant_id: str, streak_code: str) -> Mapping[str, Any]:
        """The freezes held, and where each came from and went."""
        path = f"{_streak(participant_id, streak_code)}/freezes"
        found: Mapping[str, Any] = self.transport.call(Call("GET", path))
        return found

    def _post(self, path: str, body: Mapping[str, Any], wish: Wish | None) -> Result:
        sent = {name: value for name, value in body.items() if value is not None}
        headers = (wish or Wish()).headers()
        call = Call("POST", path, sent, params=self.query, headers=headers)
        return self.read(self.transport.call(call))

    def _delete(self, path: str, reason: str | None, revoke: bool = False) -> Result:
        params = dict(self.query) | ({} if reason is None else {"reason": reason})
        params |= {"revoke": "true"} if revoke else {}
        call = Call("DELETE", path, params=params, headers=Wish().headers())
        return self.read(self.transport.call(call))


class Changes(Repairs[Done]):
    """Changes that are made, one or many at a time. Merges and batches have no preview."""

    def merge(
        self, participant_id: str, from_id: str, reason: str | None = None, wish: Wish | None = None
    ) -> Done:
        """Give a participant all that another one has; the other's id becomes its alias."""
        return self._post(
            f"{_person(participant_id)}/merge", {"from": from_id, "reason": reason}, wish
        )

    def pause_many(self, pauses: Items, sending: Sending | None = None) -> Iterator[ItemResult]:
        """Pause any number of participants; one result per item in order."""
        return send_all(self.transport, PAUSES, pauses, sending or Sending())

    def grant_freezes_many(
        self, freezes: Items, sending: Sending | None = None
    ) -> Iterator[ItemResult]:
        """Give freezes to any number of participants, like pause_many."""
        return send_all(self.transport, FREEZES, freezes, sending or Sending())

    def repair_many(self, repairs: Items, sending: Sending | None = None) -> Iterator[ItemResult]:
        """Repair any number of streaks, like pause_many."""
        return send_all(self.transport, REPAIRS, repairs, sending or Sending())

    def restore_many(self, restores: Items, sending: Sending | None = None) -> Iterator[ItemResult]:
        """Restore any number of broken streaks, like pause_many."""
        return send_all(self.transport, RESTORES, restores, sending or Sending())

    def retract_many(
        self, retractions: Items, sending: Sending | None = None
    ) -> Iterator[ItemResult]:
        """Retract any number of ticks or periods, like pause_many."""
        return send_all(self.transport, RETRACTIONS, retractions, sending or Sending())


def repairs(transport: Transport) -> Changes:
    """Changes that are made."""
    return Changes(transport, _done)


def previews(transport: Transport) -> Repairs[StreakPreview]:
    """Changes that are not made: each returns what it would do, or raises as the change would."""
    return Repairs(transport, lambda document: read(StreakPreview, document), {"preview": "true"})


def _person(participant_id: str) -> str:
    return f"/participants/{quote(participant_id, safe='')}"


def _streak(participant_id: str, streak_code: str) -> str:
    return f"{_person(participant_id)}/streaks/{quote(streak_code, safe='')}"


def _done(document: Mapping[str, Any]) -> Done:
    if "status_url" in document:
        change_id = document["streak_change_id"]
        return Accepted("streak-changes", change_id, document["status_url"])
    return read(StreakChanged, document)
