"""What most teams would write instead: plain routes, and the tables of all peers.

Each is given what is fair: the same server and settings, the same Postgres and Redis with the same
durability, pooled connections, prepared payloads; and it may leave out what ours must do besides
(keys, caps, validation of fields, time zones, webhooks).
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import flask
from psycopg2.pool import ThreadedConnectionPool

from models import db
from settings import Settings

TABLES = """
CREATE TABLE IF NOT EXISTS peer_states (
  tenant_id integer, participant_id text, streak_code text,
  last_period integer NOT NULL, current_count integer NOT NULL, longest_count integer NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, participant_id, streak_code)
) WITH (fillfactor = 70);
CREATE TABLE IF NOT EXISTS peer_ticks (
  id uuid PRIMARY KEY, tenant_id integer NOT NULL, participant_id text NOT NULL,
  streak_code text NOT NULL, occurred_at timestamptz NOT NULL, new_count integer NOT NULL
);
CREATE TABLE IF NOT EXISTS peer_facts (
  id uuid PRIMARY KEY, tenant_id integer NOT NULL, participant_id text NOT NULL,
  type text NOT NULL, body text NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS peer_deliveries (
  id uuid PRIMARY KEY, url text NOT NULL, secret text NOT NULL, body text NOT NULL,
  status text NOT NULL DEFAULT 'pending', attempts integer NOT NULL DEFAULT 0,
  status_code integer, updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS peer_webhooks (url text NOT NULL, secret text NOT NULL);
"""

RECORD = "/api/v1/gamify/streaks/record"
PROFILE = "/participants/"
_TENANT_ID = 1

_UPSERT = """
INSERT INTO peer_states AS s
  (tenant_id, participant_id, streak_code, last_period, current_count, longest_count)
VALUES (%(tenant)s, %(participant)s, %(streak)s, %(period)s, 1, 1)
ON CONFLICT (tenant_id, participant_id, streak_code) DO UPDATE SET
  current_count = CASE excluded.last_period - s.last_period
    WHEN 0 THEN s.current_count WHEN 1 THEN s.current_count + 1 ELSE 1 END,
  longest_count = GREATEST(s.longest_count, CASE excluded.last_period - s.last_period
    WHEN 1 THEN s.current_count + 1 ELSE 1 END),
  last_period = excluded.last_period, updated_at = now()
RETURNING current_count, longest_count
"""
_LEDGER = """
INSERT INTO peer_ticks (id, tenant_id, participant_id, streak_code, occurred_at, new_count)
VALUES (%s, %s, %s, %s, %s, %s)
"""
_FACT = """
INSERT INTO peer_facts (id, tenant_id, participant_id, type, body) VALUES (%s, %s, %s, %s, %s)
"""


def bare() -> flask.Flask:
    """A route that does nothing: what the server itself can do."""
    app = flask.Flask(__name__)

    @app.post(RECORD)
    def record() -> tuple[dict[str, str], int]:
        return {"status": "accepted"}, 202

    return app


_SELECT = """
SELECT participant_id, streak_code, current_count, longest_count, updated_at FROM peer_states
WHERE tenant_id = %s AND participant_id = %s AND streak_code = %s
"""


def selecting() -> flask.Flask:
    """A route that answers with one row, selected by its key."""
    settings, app = Settings.from_env(), flask.Flask(__name__)
    dsn = db.normalise(settings.database_url).replace("+psycopg2", "")
    pool = ThreadedConnectionPool(settings.api_threads, settings.api_threads, dsn)

    @app.get(PROFILE + "<participant_id>")
    def profile(participant_id: str) -> dict[str, Any]:
        connection = pool.getconn()
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(_SELECT, (_TENANT_ID, participant_id, "profile"))
                row: Any = cursor.fetchone()
        finally:
            pool.putconn(connection)
        who, streak, count, longest, at = row
        return {
            "participant_id": who,
            "streak_code": streak,
            "current_count": count,
            "longest_count": longest,
            "updated_at": at.isoformat(),
        }

    return app


def committing() -> flask.Flask:
    """A route that commits the upsert, a ledger row and a fact itself before it answers."""
    settings, app = Settings.from_env(), flask.Flask(__name__)
    dsn = db.normalise(settings.database_url).replace("+psycopg2", "")
    pool = ThreadedConnectionPool(settings.api_threads, settings.api_threads, dsn)

    @app.post(RECORD)
    def record() -> dict[str, Any]:
        body = flask.request.get_json()
        connection = pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                return record_tick(cursor, body["participant_id"], body["streak_code"], body)
        finally:
            pool.putconn(connection)

    return app


def record_tick(cursor: Any, participant: str, streak: str, body: dict[str, Any]) -> dict[str, Any]:
    """Upsert the state, add a ledger row and a fact; the answer of `record`."""
    at = datetime.fromisoformat(body["timestamp"]).astimezone(UTC)
    period = at.toordinal()
    cursor.execute(
        _UPSERT,
        {"tenant": _TENANT_ID, "participant": participant, "streak": streak, "period": period},
    )
    count, longest = cursor.fetchone()
    tick_id = str(uuid.uuid4())
    cursor.execute(_LEDGER, (tick_id, _TENANT_ID, participant, streak, at, count))
    fact = fact_body(participant, streak, count, longest)
    cursor.execute(
        _FACT, (str(uuid.uuid4()), _TENANT_ID, participant, "behavior.streak_recorded", fact)
    )
    return {
        "streak_code": streak,
        "new_count": count,
        "longest_count": longest,
        "is_new_record": count == longest,
        "already_recorded": False,
    }


def fact_body(participant: str, streak: str, count: int, longest: int) -> str:
    """A fact of about the size of ours."""
    payload = {
        "streak_code": streak,
        "count": count,
        "previous_count": count - 1,
        "longest_count": longest,
        "is_new_record": count == longest,
        "outcome": "extended",
        "period": "daily",
        "period_key": "2026-05-23",
        "grace_remaining": 1,
        "recorded_at": "2026-05-23T08:15:00Z",
        "tick_id": "01938c3f-0000-7000-8000-000000000000",
    }
    envelope = {
        "id": f"evt_{uuid.uuid4().hex}",
        "type": "behavior.streak_recorded",
        "occurred_at": "2026-05-23T08:15:00Z",
        "tenant": "peer",
        "mode": "live",
        "participant_id": participant,
        "sequence": count,
        "payload": payload,
    }
    return json.dumps(envelope)
