"""Erasing a participant: all its data is deleted; a tombstone rejects writes that arrive late.

Accepted writes may still be in the queue when their participant is erased. The tombstone is a keyed
digest of the external id and an instant. When a participant of that id is created later, the
instant is stored in `participants.erased_at`, and writes accepted until then are rejected.

The unique key decides the race between an erasure and the creation of the participant:

1. The erasure always holds the participant's row: if it is missing, the erasure inserts it (and
   deletes it again). Two inserts of the same key wait for each other.
2. A creation reads the tombstone in a *later statement* than its insert, in the same transaction.
   If the erasure was first, the insert waited for its commit and the later statement sees the
   tombstone. If the insert was first, the erasure waits for its commit and deletes its rows. A
   read before the insert, or in the same statement, would miss an erasure that commits while the
   insert waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from uuid import UUID

import sqlalchemy as sa

from models import clock, db
from models.db import Connection, array, run
from models.identity.participants import ID_OF
from models.identity.tenants import Tenant
from models.leaderboards import entries

DigestKey = tuple[int, bytes]  # tenant, digest

DIGEST_BYTES = 16
STATEMENT_SECONDS = 30  # a participant of many years takes longer than the API's usual limit
FACTS_MAX = 1_000  # ids in one statement
_ERASURE_LOCK = 7_301_118  # any number, the same in every release: one erasure at a time
_HOLD_ROUNDS_MAX = 5  # a row that comes and goes between two statements: try again


@dataclass(frozen=True, slots=True)
class Erased:
    """An erasure: writes accepted before its instant belong to the erased participant."""

    erased_at: datetime
    was_known: bool  # False: at most writes in the queue existed
    names: Sequence[str]  # the participant's external ids: more than one after a merge


def digest(secret: bytes, external_id: str) -> bytes:
    """The stored form of an erased external id: 16 bytes, useless without the tenant's secret."""
    return blake2b(
        external_id.encode(), key=secret, digest_size=DIGEST_BYTES, person=b"erasure"
    ).digest()


# -- tombstones ------------------------------------------------------------------------------

_SINCE = """
    SELECT e.tenant_id, e.digest, e.erased_at
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(digests)s AS text[])) AS k (tenant_id, digest)
    JOIN erasures e ON e.tenant_id = k.tenant_id AND e.digest = decode(k.digest, 'hex')
    """


def since(connection: Connection, keys: Sequence[DigestKey]) -> dict[DigestKey, int]:
    """The instants, in microseconds, at which some (tenant, digest) were last erased; else missing.

    Read it after the participants were created, in its own statement (see above). A write belongs
    to the erased participant when `ids.issued_at_us(write.id) < erased_us`.
    """
    rows = run(
        connection,
        _SINCE,
        {
            "tenants": array(tenant_id for tenant_id, _ in keys),
            "digests": array(digest_bytes.hex() for _, digest_bytes in keys),
        },
    )
    return {
        (tenant_id, bytes(digest_bytes)): clock.to_us(at) for tenant_id, digest_bytes, at in rows
    }


def last(connection: Connection, tenant: Tenant, external_id: str) -> datetime | None:
    """When an external id was last erased; None when never, or before the tombstones' retention.

    Read it after the participant was created, in its own statement (see above).
    """
    key = (tenant.id, digest(tenant.tick_secret, external_id))
    erased_us = since(connection, [key]).get(key)
    return None if erased_us is None else clock.from_us(erased_us)


def purge(connection: Connection, before: datetime) -> int:
    """Delete every tenant's tombstones of erasures before an instant; return how many."""
    return connection.execute(
        sa.text("DELETE FROM erasures WHERE erased_at < :before"), {"before": before}
    ).rowcount


# -- erasing ---------------------------------------------------------------------------------


def erase(connection: Connection, tenant: Tenant, external_id: str) -> Erased:
    """Delete a participant's data, and write the tombstones of its ids; the caller commits.

    1. Wait for other erasures: each locks every day of every ledger, and several at once would
       overflow the server's table of locks.
    2. Hold the participant's row, and those of its aliases, in key order. A batch that holds one
       ends first, and its rows are deleted here.
       A later batch waits for our commit, finds no participant and reads the tombstone.
    3. Only now read the clock: every write accepted before the request is before that instant.
    4. Delete. Deliveries go before attempts: a deliverer logs an attempt under the lock of its
       delivery, so that the attempt is either deleted here or not written.

    Raises Contended when a deliverer was in the way: then try again.
    """
    take_turn(connection)
    names = _names(connection, tenant.id, external_id)
    held = _hold_all(connection, tenant.id, names)
    erased_at = _next_millisecond(clock.now_us())
    for name in names:
        _write_tombstone(connection, tenant, name, erased_at)
    for participant_id, was_there in held:
        if was_there:
            entries.forget(connection, tenant.id, participant_id)
            _delete_facts(connection, tenant.id, participant_id)
            _delete_ledgers(connection, tenant.id, participant_id)
        _delete_participant(connection, tenant.id, participant_id)
    dead_letters = sum(_delete_dead_letters(connection, tenant.id, name) for name in names)
    is_known = any(was_there for _, was_there in held)
    return Erased(erased_at, is_known or dead_letters > 0, names)


def take_turn(connection: Connection) -> None:
    """Wait for other erasures and merges: each of them locks every day of every ledger."""
    db.take_longer(connection, STATEMENT_SECONDS)
    connection.execute(_BY_INDEX)
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ERASURE_LOCK})


_NAMES = sa.text(f"""
SELECT external_id FROM participants WHERE tenant_id = :tenant_id
  AND (id = {ID_OF} OR merged_into = {ID_OF}) ORDER BY external_id
""")  # noqa: S608 - a constant


def _names(connection: Connection, tenant_id: int, external_id: str) -> list[str]:
    """Every external id of the participant that one of them names, in key order. No merge can
    change them before this transaction ends."""
    values = {"tenant_id": tenant_id, "external_id": external_id}
    return list(connection.execute(_NAMES, values).scalars()) or [external_id]


def _hold_all(
    connection: Connection, tenant_id: int, names: Sequence[str]
) -> list[tuple[int, bool]]:
    return [_hold(connection, tenant_id, name) for name in names]


# By index whatever the statistics: those of a queue and of a new day are always wrong.
_BY_INDEX = sa.text("SET LOCAL enable_seqscan = off")
_INSERT = sa.text("""
INSERT INTO participants (tenant_id, external_id) VALUES (:tenant_id, :external_id)
ON CONFLICT (tenant_id, external_id) DO NOTHING RETURNING id
""")
_LOCK = sa.text("""
SELECT id FROM participants WHERE tenant_id = :tenant_id AND external_id = :external_id FOR UPDATE
""")


def _hold(connection: Connection, tenant_id: int, external_id: str) -> tuple[int, bool]:
    """Lock the participant's row; return whether it existed."""
    values = {"tenant_id": tenant_id, "external_id": external_id}
    for _ in range(_HOLD_ROUNDS_MAX):
        for statement, was_there in ((_LOCK, True), (_INSERT, False)):
            participant_id = connection.execute(statement, values).scalar_one_or_none()
            if participant_id is not None:
                return participant_id, was_there
    raise RuntimeError("a participant could not be locked")


def _next_millisecond(now_us: int) -> datetime:
    """The instant from which the id is free again: ids of writes count in milliseconds."""
    return clock.from_us((now_us // 1_000 + 1) * 1_000)


_TOMBSTONE = sa.text("""
INSERT INTO erasures AS e (tenant_id, digest, erased_at) VALUES (:tenant_id, :digest, :erased_at)
ON CONFLICT (tenant_id, digest) DO UPDATE SET erased_at = GREATEST(e.erased_at, EXCLUDED.erased_at)
""")


def _write_tombstone(
    connection: Connection, tenant: Tenant, external_id: str, erased_at: datetime
) -> None:
    values = {
        "tenant_id": tenant.id,
        "digest": digest(tenant.tick_secret, external_id),
        "erased_at": erased_at,
    }
    connection.execute(_TOMBSTONE, values)


_FACTS = sa.text("""
DELETE FROM facts WHERE tenant_id = :tenant_id AND participant_id = :participant_id RETURNING id
""")
# The bounds are sent as literals, so that the planner prunes the other days' partitions.
_DELIVERIES = sa.text("""
DELETE FROM deliveries WHERE tenant_id = :tenant_id AND fact_id = ANY(CAST(:fact_ids AS uuid[]))
  AND fact_id BETWEEN :first AND :last
""")
_ATTEMPTS = sa.text("""
DELETE FROM attempts WHERE tenant_id = :tenant_id AND fact_id = ANY(CAST(:fact_ids AS uuid[]))
""")


def _delete_facts(connection: Connection, tenant_id: int, participant_id: int) -> None:
    rows = connection.execute(_FACTS, {"tenant_id": tenant_id, "participant_id": participant_id})
    fact_ids: list[UUID] = sorted(rows.scalars())
    for start in range(0, len(fact_ids), FACTS_MAX):
        some = fact_ids[start : start + FACTS_MAX]
        values = {"tenant_id": tenant_id, "fact_ids": some, "first": some[0], "last": some[-1]}
        connection.execute(_DELIVERIES, values)
        connection.execute(_ATTEMPTS, values)


_LEDGERS = (
    "ticks", "awards", "point_transactions", "tier_changes", "reward_claims", "streak_changes",
    "rejections",
)  # fmt: skip


def _delete_ledgers(connection: Connection, tenant_id: int, participant_id: int) -> None:
    for table in _LEDGERS:
        connection.execute(
            sa.text(
                f"DELETE FROM {table}"  # noqa: S608 - a name of the line above
                " WHERE tenant_id = :tenant_id AND participant_id = :participant_id"
            ),
            {"tenant_id": tenant_id, "participant_id": participant_id},
        )


def _delete_participant(connection: Connection, tenant_id: int, participant_id: int) -> None:
    """Delete the row; states, pauses, badges and all else that refers to it go with it."""
    connection.execute(
        sa.text("DELETE FROM participants WHERE tenant_id = :tenant_id AND id = :participant_id"),
        {"tenant_id": tenant_id, "participant_id": participant_id},
    )


def _delete_dead_letters(connection: Connection, tenant_id: int, external_id: str) -> int:
    return connection.execute(
        sa.text(
            "DELETE FROM dead_letters"
            " WHERE tenant_id = :tenant_id AND participant_id = :external_id"
        ),
        {"tenant_id": tenant_id, "external_id": external_id},
    ).rowcount
