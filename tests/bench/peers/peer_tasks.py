"""What most teams would write instead: one Celery task per tick, one per delivery, the ORM."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from datetime import UTC, datetime
from functools import cache

import requests
from sqlalchemy import create_engine, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from models import db
from settings import Settings
from tests.bench.peers.peer_queue import DELIVERIES, TICKS, make_app
from tests.bench.peers.routes import fact_body

POST_SECONDS = 15

settings = Settings.from_env()
app = make_app(settings.redis_url)


class Base(DeclarativeBase):
    """The peers' tables."""


class State(Base):
    """A streak's state."""

    __tablename__ = "peer_states"
    tenant_id: Mapped[int] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    streak_code: Mapped[str] = mapped_column(primary_key=True)
    last_period: Mapped[int]
    current_count: Mapped[int]
    longest_count: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Fact(Base):
    """A fact."""

    __tablename__ = "peer_facts"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[int]
    participant_id: Mapped[str]
    type: Mapped[str]
    body: Mapped[str]


class Delivery(Base):
    """A delivery."""

    __tablename__ = "peer_deliveries"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    url: Mapped[str]
    secret: Mapped[str]
    body: Mapped[str]
    status: Mapped[str]
    attempts: Mapped[int]
    status_code: Mapped[int | None]


@cache
def engine() -> Engine:
    """The pool of this process, made after the fork."""
    return create_engine(db.normalise(settings.database_url))


@cache
def http() -> requests.Session:
    """Kept-alive connections of this process."""
    return requests.Session()


@app.task(name="peer.record_tick", queue=TICKS)
def record_tick(tenant_id: int, participant_id: str, streak_code: str, timestamp: str) -> None:
    """Lock or create the state, step it, add a fact; one transaction."""
    period = datetime.fromisoformat(timestamp).astimezone(UTC).toordinal()
    key = (tenant_id, participant_id, streak_code)
    with Session(engine()) as session, session.begin():
        state = session.get(State, key, with_for_update=True)
        if state is None:
            state = _create(session, key, period)
        if period == state.last_period and state.current_count:
            return
        state.current_count = state.current_count + 1 if period == state.last_period + 1 else 1
        state.longest_count = max(state.longest_count, state.current_count)
        state.last_period = period
        session.add(
            Fact(
                id=uuid.uuid4(),
                tenant_id=tenant_id,
                participant_id=participant_id,
                type="behavior.streak_recorded",
                body=fact_body(
                    participant_id, streak_code, state.current_count, state.longest_count
                ),
            )
        )


def _create(session: Session, key: tuple[int, str, str], period: int) -> State:
    """Create the state, whoever does so at the same moment, and lock it."""
    tenant_id, participant_id, streak_code = key
    session.execute(
        insert(State)
        .values(
            tenant_id=tenant_id,
            participant_id=participant_id,
            streak_code=streak_code,
            last_period=period,
            current_count=0,
            longest_count=0,
        )
        .on_conflict_do_nothing()
    )
    return session.get_one(State, key, with_for_update=True)


@app.task(name="peer.deliver", queue=DELIVERIES)
def deliver(delivery_id: str) -> None:
    """Sign and post one fact, and write down what came of it."""
    with Session(engine()) as session, session.begin():
        row = session.get_one(Delivery, uuid.UUID(delivery_id))
        body = row.body.encode()
        sent_at = int(time.time())
        digest = hmac.digest(
            row.secret.encode(), f"{row.id}.{sent_at}.".encode() + body, hashlib.sha256
        )
        response = http().post(
            row.url,
            data=body,
            headers={
                "Content-Type": "application/json",
                "webhook-id": str(row.id),
                "webhook-timestamp": str(sent_at),
                "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
            },
            timeout=POST_SECONDS,
            allow_redirects=False,
        )
        row.attempts += 1
        row.status_code = response.status_code
        row.status = "delivered" if response.ok else "pending"
