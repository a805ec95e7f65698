"""Points: award, deduct, balance, and the movements of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Unpack
from urllib.parse import quote

from unbroken_client import many
from unbroken_client.many import POINTS, Sending
from unbroken_client.results import (
    Accepted,
    Balance,
    ItemResult,
    Moved,
    PointsDetails,
    PointsInput,
    read,
)
from unbroken_client.transport import Call, Transport
from unbroken_client.wish import Wish

Write = Callable[[str, Mapping[str, Any], Wish], Any]


@dataclass(frozen=True)
class Points:
    """The operations on points."""

    transport: Transport
    write: Write

    def award(
        self,
        participant_id: str,
        amount: int,
        wish: Wish | None = None,
        **details: Unpack[PointsDetails],
    ) -> Moved | Accepted:
        """Award points."""
        body = {"participant_id": participant_id, "amount": amount, **details}
        return _moved(self.write("/points/award", body, wish or Wish()))

    def deduct(
        self,
        participant_id: str,
        amount: int,
        wish: Wish | None = None,
        **details: Unpack[PointsDetails],
    ) -> Moved | Accepted:
        """Deduct points; raises InsufficientPoints without taking any."""
        body = {"participant_id": participant_id, "amount": amount, **details}
        return _moved(self.write("/points/deduct", body, wish or Wish()))

    def award_many(
        self, awards: Iterable[PointsInput], sending: Sending | None = None
    ) -> Iterator[ItemResult]:
        """Award points to any number of participants, like Unbroken.record_many."""
        return many.send_all(self.transport, POINTS, awards, sending or Sending())

    def balance(self, participant_id: str) -> Balance:
        """A participant's balance, and the totals earned and spent."""
        return read(Balance, self.transport.call(Call("GET", _at(participant_id))))

    def transactions(self, participant_id: str) -> Iterator[Mapping[str, Any]]:
        """The movements in the order in which they were applied, newest first. Movements that
        are added meanwhile are not listed; they neither repeat nor hide others."""
        window: dict[str, Any] = {"page_size": 100}
        while True:
            path = f"{_at(participant_id)}/transactions"
            page = self.transport.call(Call("GET", path, params=window))
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            window["after"] = page["next_cursor"]


def _at(participant_id: str) -> str:
    return f"/participants/{quote(participant_id, safe='')}/points"


def _moved(document: Mapping[str, Any]) -> Moved | Accepted:
    if "status_url" in document:
        return Accepted("points/transactions", document["transaction_id"], document["status_url"])
    return read(Moved, document)
