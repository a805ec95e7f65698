"""Replay or discard dead letters, for the API and the command line."""

from __future__ import annotations

from dataclasses import replace

from models import clock
from models.db import Connection
from models.ledgers import dead_letters
from models.ledgers.dead_letters import UNKNOWN_TENANT, DeadLetter, DeadLetterQuery
from workers.intake.client import Intake, IntakeError, Unreadable, decode

REPLAYED_MAX = 100  # per transaction: each is a round trip to Redis while its row is locked

RESTING: dict[str, str] = {  # statuses that rule out a replay or a discard, and why
    "discarded": "The dead letter was discarded: it will not be tried again",
    "replayed": "The dead letter was replayed: it cannot be discarded any more",
}


class DeadLetterClosed(Exception):
    """The dead letter is already closed; `status` is `discarded` or `replayed`."""

    def __init__(self, status: str) -> None:
        super().__init__(RESTING[status])
        self.status = status


def replay(connection: Connection, intake: Intake, dead_letter: DeadLetter) -> DeadLetter:
    """Append a dead letter's write again and mark the dead letter; repeating it is harmless.

    1. The caller holds the row lock: a concurrent discard or failed drain waits. That is why this
       sends one command to Redis within the transaction.
    2. The write is appended under its own id: its ledger stores it once, however often it comes.
    3. The dead letter is marked. After a crash before the commit it is still dead and its write is
       queued; a second replay then only marks it.

    Raises DeadLetterClosed (it was discarded), Unreadable (this release cannot read it),
    Unavailable, Full.
    """
    if dead_letter.status == "discarded":
        raise DeadLetterClosed(dead_letter.status)
    tenant_id = dead_letter.tenant_id
    message = decode(dead_letter.message.encode())
    if tenant_id == UNKNOWN_TENANT:
        tenant_id = message.tenant_id
    intake.resubmit(tenant_id, dead_letter.message.encode())
    return dead_letters.close(connection, dead_letter, "replayed", clock.now())


def replay_some(
    connection: Connection, intake: Intake, wanted: DeadLetterQuery
) -> list[DeadLetter]:
    """Replay the oldest open dead letters; skip those that this release cannot read.

    Stops when the intake refuses one; raises Unavailable or Full if it refuses the first.
    """
    done: list[DeadLetter] = []
    for dead_letter in dead_letters.lock_some(connection, replace(wanted, status="dead")):
        try:
            done.append(replay(connection, intake, dead_letter))
        except Unreadable:
            continue
        except IntakeError:
            if not done:
                raise
            break
    return done


def discard(connection: Connection, dead_letter: DeadLetter) -> DeadLetter:
    """Discard a locked dead letter: it is kept, and never tried again.

    Raises DeadLetterClosed if it was replayed: a queued write cannot be withdrawn.
    """
    if dead_letter.status == "replayed":
        raise DeadLetterClosed(dead_letter.status)
    if dead_letter.status == "discarded":
        return dead_letter
    return dead_letters.close(connection, dead_letter, "discarded", clock.now())
