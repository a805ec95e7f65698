"""The status of a queued write, read by its id or awaited (contract §2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Protocol
from uuid import UUID

from flask import Response
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.problems import not_found
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import reading
from models import clock, ids
from models.db import Connection, DatabaseUnavailable
from models.identity.tenants import Tenant
from models.ledgers import dead_letters, rejections
from models.ledgers.rejections import RejectedWrite
from models.people import erasure
from models.rules.periods import DAY_US

POLL_SECONDS = 0.02  # while waiting for a write that another request posted

WriteStatus = Literal["accepted", "applied", "rejected", "dead"]


class LedgerRow(Protocol):
    """A write that a ledger holds."""

    def answer(self) -> dict[str, Any]:
        """The documented answer to the write."""


@dataclass(frozen=True, slots=True)
class WriteLedger:
    """The ledger that stores the writes of one kind."""

    noun: str  # in ids and errors: tick → tick_id, tick_not_found
    path: str  # of the collection: ticks
    find: Callable[[Connection, int, UUID], LedgerRow | None]
    salt: bytes  # separates its ids from those of other kinds

    id_field: str = field(init=False)  # the name of an id in answers

    def __post_init__(self) -> None:
        object.__setattr__(self, "id_field", f"{self.noun}_id")

    def secret(self, of: Tenant) -> bytes:
        """The secret that marks a tenant's ids of this kind."""
        return of.secret_of_ids(self.salt)


class WriteOutcome(TypedDict):
    """Beside the id: what has become of a write."""

    status: WriteStatus
    result: dict[str, Any] | None  # once applied: the answer a waiting request gets
    code: NotRequired[str]  # why it was rejected
    detail: NotRequired[str]  # details of the reason


def get_status(ledger: WriteLedger, text: str) -> Response:
    """Answer with the status of the write in a path; 404 for an id of no write."""
    number = _uuid(ledger, text)
    with reading() as connection:
        outcome = _outcome(connection, ledger, number)
    if outcome is None:
        raise not_found(ledger.noun, text)
    return answer({ledger.id_field: text} | outcome)


def is_waiting(ledger: WriteLedger, text: str) -> bool:
    """Whether the write in a path is accepted and not applied yet; 404 for a malformed id."""
    number = _uuid(ledger, text)
    with reading() as connection:
        outcome = _outcome(connection, ledger, number)
    return outcome is not None and outcome["status"] == "accepted"


def wait(ledger: WriteLedger, number: UUID, seconds: float) -> dict[str, Any] | None:
    """The answer to a write that another request posted, or None if it does not come in time.

    `{"rejected": code}` when the worker rejected it.
    """
    ends = time.monotonic() + seconds
    while True:
        try:
            with reading() as connection:
                outcome = _outcome(connection, ledger, number)
        except DatabaseUnavailable:
            return None  # still accepted: the caller answers 202
        if outcome and "code" in outcome:
            return RejectedWrite(outcome["code"], outcome.get("detail")).answer()
        if (outcome and outcome["status"] != "accepted") or time.monotonic() >= ends:
            return outcome and outcome["result"]
        time.sleep(POLL_SECONDS)


def erased_since(write_id: str, participant_ids: Collection[str]) -> set[str]:
    """Participants erased since a write was accepted, as far as is known now."""
    mine = tenant()
    keys = {
        (mine.id, erasure.digest(mine.tick_secret, external_id)): external_id
        for external_id in participant_ids
    }
    try:
        with reading() as connection:
            erased_us = erasure.since(connection, list(keys))
    except DatabaseUnavailable:
        return set()  # the write's status will show it
    accepted_us = ids.issued_at_us(UUID(write_id))
    return {keys[key] for key, at_us in erased_us.items() if accepted_us < at_us}


def _outcome(connection: Connection, ledger: WriteLedger, number: UUID) -> WriteOutcome | None:
    """The outcome of a write; None for an id that the tenant was not given.

    A genuine id that no table holds may be queued. If the queue no longer holds it, it was applied
    since the first look or erased with its participant; a second look decides.
    """
    outcome = _stored(connection, ledger, number)
    if outcome or not _may_be_on_its_way(ledger, number):
        return outcome
    if app_context().intake.is_idle(tenant().id):
        return _stored(connection, ledger, number)
    return {"status": "accepted", "result": None}


def _stored(connection: Connection, ledger: WriteLedger, number: UUID) -> WriteOutcome | None:
    found = ledger.find(connection, tenant().id, number)
    if found:
        return {"status": "applied", "result": found.answer()}
    if not ids.is_issued(number, ledger.secret(tenant())):
        return None
    refused = rejections.find(connection, tenant().id, number)
    if refused:
        return _refused(refused)
    dead_letter = dead_letters.find(connection, tenant().id, number)
    if dead_letter is None:
        return None
    return {"status": "accepted" if dead_letter.status == "replayed" else "dead", "result": None}


def _refused(refused: RejectedWrite) -> WriteOutcome:
    found: WriteOutcome = {"status": "rejected", "result": None, "code": refused.code}
    if refused.detail:
        found["detail"] = refused.detail
    return found


def _may_be_on_its_way(ledger: WriteLedger, number: UUID) -> bool:
    return ids.is_issued(number, ledger.secret(tenant())) and _is_kept(number)


def _is_kept(number: UUID) -> bool:
    """Whether the ledgers still hold the writes of that day: an older write cannot be queued."""
    age_us = clock.now_us() - ids.issued_at_us(number)
    return age_us < app_context().settings.ticks_days * DAY_US


def _uuid(ledger: WriteLedger, text: str) -> UUID:
    try:
        number = UUID(text)
    except ValueError:
        raise not_found(ledger.noun, text) from None
    if str(number) != text:
        raise not_found(ledger.noun, text)
    return number
