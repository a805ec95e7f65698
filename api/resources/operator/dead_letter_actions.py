"""Dead letters put right, for the API and the command line: tried once more, or given up."""

from __future__ import annotations

from dataclasses import replace

from models import clock
from models.db import Connection
from models.ledgers import dead_letters
from models.ledgers.dead_letters import UNKNOWN_TENANT, DeadLetter, DeadLetterQuery
from workers.intake.client import Intake, IntakeError, Unreadable, decode

REPLAYED_MAX = 100  # in one transaction: each is a round trip to Redis while its row is locked

RESTING: dict[str, str] = {  # what a letter must not be, and why it cannot be helped any more
    "discarded": "The dead letter was discarded: it will not be tried again",
    "replayed": "The dead letter was replayed: it cannot be discarded any more",
}


class DeadLetterClosed(Exception):
    """The letter was discarded, or replayed, before: `status` says which."""

    def __init__(self, status: str) -> None:
        super().__init__(RESTING[status])
        self.status = status


def replay(connection: Connection, intake: Intake, dead_letter: DeadLetter) -> DeadLetter:
    """Append a letter's write once more and mark the letter; the same again does no harm.

    1. The caller has locked the letter: who would bury it anew, or discard it, waits. That is why
       this talks to Redis within a transaction, for one command.
    2. The write is appended under its own id: its ledger takes it once, however often it comes.
    3. The letter is marked. Dying before the commit leaves it dead, its write on its way: replayed
       again it is only acknowledged.

    Raises Settled (it was discarded), Unreadable (this release cannot read it), Unavailable, Full.
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
    """Replay the oldest ones that are dead; those that cannot be read are passed over.

    Ends where the intake refuses; raises Unavailable or Full when it refuses the first.
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
    """Give a letter that is locked up: it is kept, and never tried again.

    Raises Settled when it was replayed: what is on its way cannot be called back.
    """
    if dead_letter.status == "replayed":
        raise DeadLetterClosed(dead_letter.status)
    if dead_letter.status == "discarded":
        return dead_letter
    return dead_letters.close(connection, dead_letter, "discarded", clock.now())
