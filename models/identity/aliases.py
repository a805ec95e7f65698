"""Aliases: the ids of participants that were merged into another one (contract §7.3).

An alias keeps its row, without any data of its own. `merged_into` in it is read when the row is
locked, so that writes for all other participants cost no further query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from models.db import Connection, Contended, array, run
from models.identity import participants
from models.identity.participants import Participant, ParticipantKey


class Aliased(Exception):
    """Writes name aliases: they are applied again, under the survivors' ids.

    In a transaction of their own, which locks the survivors in key order with all others.
    """

    def __init__(self, survivors: Mapping[str, str]) -> None:
        super().__init__(f"{len(survivors)} writes of aliases")
        self.survivors = survivors  # external ids, by the id of the write


_SURVIVORS = """
    SELECT k.tenant_id, k.id, p.external_id
    FROM unnest(CAST(%(tenants)s AS int[]), CAST(%(ids)s AS bigint[])) AS k (tenant_id, id)
    JOIN participants p USING (tenant_id, id)
    """


def survivors(connection: Connection, keys: Iterable[ParticipantKey]) -> dict[ParticipantKey, str]:
    """The external ids of some participants."""
    wanted = sorted(set(keys))
    values = {
        "tenants": array(tenant_id for tenant_id, _ in wanted),
        "ids": array(participant_id for _, participant_id in wanted),
    }
    return {(row[0], row[1]): row[2] for row in run(connection, _SURVIVORS, values)}


_CURRENT = """
    SELECT p.external_id, s.external_id FROM participants p
    JOIN participants s ON s.tenant_id = p.tenant_id AND s.id = p.merged_into
    WHERE p.tenant_id = %(tenant_id)s AND p.external_id = ANY(CAST(%(names)s AS text[]))
    """


def current(connection: Connection, tenant_id: int, names: Iterable[str]) -> dict[str, str]:
    """Each external id with that of the participant it counts for: mostly itself."""
    wanted = sorted(set(names))
    rows = run(connection, _CURRENT, {"tenant_id": tenant_id, "names": array(wanted)})
    return {name: name for name in wanted} | {row[0]: row[1] for row in rows}


def lock(
    connection: Connection, tenant_id: int, names: Iterable[str]
) -> tuple[dict[str, Participant], dict[str, str]]:
    """Lock the participants that some external ids count for; also return the ids by which they
    are known. Raises Contended when a merge came in between."""
    known = current(connection, tenant_id, names)
    found = participants.lock(connection, {(tenant_id, name) for name in known.values()})
    if any(participant.merged_into is not None for participant in found.values()):
        raise Contended("participants were merged meanwhile")
    return {key[1]: participant for key, participant in found.items()}, known


def of(connection: Connection, tenant_id: int, participant_id: int) -> list[str]:
    """The aliases of a participant, in their order."""
    rows = connection.execute(
        sa.text(
            "SELECT external_id FROM participants"
            " WHERE tenant_id = :tenant_id AND merged_into = :participant_id ORDER BY external_id"
        ),
        {"tenant_id": tenant_id, "participant_id": participant_id},
    )
    return list(rows.scalars())
