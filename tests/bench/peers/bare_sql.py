"""The drain's own statements with nothing around them: no Redis, no Celery, no decisions.

What each batch reads and writes is worked out beforehand; the clock runs while the same functions
of models and webhooks that the drain calls run in the same order, one transaction a batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from models.db import Connection, Engine, reading, transaction
from models.delivery import destinations
from models.delivery.destinations import DestinationFilter
from models.identity import participants, tenants
from models.identity.participants import Participant
from models.ledgers import ticks
from models.ledgers.ticks import Tick
from models.streaks import states as streaks
from models.streaks.states import StreakState
from tests.bench.workload import Crowd
from webhooks import outbox
from webhooks.facts import Fact
from workers.apply.batch import Batch, Configuration
from workers.apply.streaks import Ticks, publish

BATCH_TICKS = 1_000  # as the drain's


@dataclass(frozen=True)
class Prepared:
    """One batch, decided."""

    people: dict[participants.ExternalKey, Participant]
    states: dict[streaks.StateKey, StreakState]
    revisions: dict[streaks.StateKey, int]
    ticks: Sequence[Tick]
    facts: Sequence[Fact]


def rate(engine: Engine, crowd: Crowd, count: int) -> float:
    """Ticks written per second."""
    batches, wanted = prepare(engine, crowd, count), _subscriptions(engine, crowd)
    started = time.perf_counter()
    for batch in batches:
        with transaction(engine) as session:
            _write(session, crowd, batch, wanted)
    return count / (time.perf_counter() - started)


def prepare(engine: Engine, crowd: Crowd, count: int) -> list[Prepared]:
    """Decide every batch of the crowd's next ticks, as the drain would."""
    with reading(engine) as session:
        people = _people(session, crowd)
        keys = [
            (crowd.tenant.id, participant.id, crowd.streak.id) for participant in people.values()
        ]
        definitions = {(crowd.tenant.id, crowd.streak.id): crowd.streak}
        states = streaks.states(session, keys, definitions, {})
    return [
        _decide(crowd, people, states, min(BATCH_TICKS, count - start))
        for start in range(0, count, BATCH_TICKS)
    ]


def _people(session: Connection, crowd: Crowd) -> dict[participants.ExternalKey, Participant]:
    rows = session.execute(
        sa.text(
            "SELECT external_id, id, timezone, fact_sequence FROM participants"
            " WHERE tenant_id = :tenant_id"
        ),
        {"tenant_id": crowd.tenant.id},
    )
    return {(crowd.tenant.id, row[0]): Participant(row[1], row[2], row[3]) for row in rows}


def _decide(
    crowd: Crowd,
    people: dict[participants.ExternalKey, Participant],
    states: dict[streaks.StateKey, StreakState],
    count: int,
) -> Prepared:
    """Decide one batch; people and states go on to the next as the database's rows would."""
    tenant, streak = crowd.tenant, crowd.streak
    messages = crowd.messages(count)
    batch = Batch(
        {tenant.id: Configuration(1, tenant, {streak.id: streak}, {}, [])},
        {
            (tenant.id, each.participant_id): replace(people[tenant.id, each.participant_id])
            for each in messages
        },
    )
    work = Ticks(states)
    for message in messages:
        publish(batch, work.decide(batch, message))
    people.update(
        {
            key: replace(participant, events=0, is_changed=False)
            for key, participant in batch.participants.items()
        }
    )
    changed = {key: replace(states[key]) for key in sorted(work.changed)}
    return Prepared(batch.participants, changed, work.changed, work.ledger, batch.facts)


def _subscriptions(engine: Engine, crowd: Crowd) -> Sequence[DestinationFilter]:
    """Kept by a drain for as long as the tenant's version stands."""
    with reading(engine) as session:
        return destinations.destination_filters(session, [crowd.tenant.id])


def _write(
    session: Connection, crowd: Crowd, batch: Prepared, wanted: Sequence[DestinationFilter]
) -> None:
    """The statements of workers.apply.apply_batch.apply, in its order."""
    tenant_id, streak_id = crowd.tenant.id, crowd.streak.id
    tenants.versions(session, [tenant_id])
    people = participants.lock(session, set(batch.people))
    keys = sorted((tenant_id, participant.id, streak_id) for participant in people.values())
    found = streaks.states(session, keys, {(tenant_id, streak_id): crowd.streak}, {})
    for person_key, participant in batch.people.items():
        participant.ctid = people[person_key].ctid
    for state_key, state in batch.states.items():
        state.ctid = found[state_key].ctid if state_key in found else None
    streaks.write_states(session, batch.states, batch.revisions)
    ticks.append(session, batch.ticks)
    outbox.publish(session, batch.facts, wanted)
    participants.touch(session, batch.people.values())
