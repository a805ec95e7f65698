"""What most teams would write instead, end to end: a route that commits, a task per delivery."""

from __future__ import annotations

import uuid
from typing import Any

import flask
from psycopg2.pool import ThreadedConnectionPool

from models import db
from settings import Settings
from tests.bench.peers import routes as peers
from tests.bench.peers.peer_queue import DELIVERIES, make_app

_DELIVERY = "INSERT INTO peer_deliveries (id, url, secret, body) VALUES (%s, %s, %s, %s)"


def delivering() -> flask.Flask:
    """A route that commits the tick, its fact and its delivery itself, then sends a task for it.

    The destination is read once, at the start.
    """
    settings, app = Settings.from_env(), flask.Flask(__name__)
    dsn = db.normalise(settings.database_url).replace("+psycopg2", "")
    pool = ThreadedConnectionPool(settings.api_threads, settings.api_threads, dsn)
    celery = make_app(settings.redis_url)
    destination = _destination(pool)

    @app.post(peers.RECORD)
    def record() -> tuple[dict[str, Any], int]:
        body = flask.request.get_json()
        who, streak = body["participant_id"], body["streak_code"]
        delivery_id = str(uuid.uuid4())
        connection = pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                answer = peers.record_tick(cursor, who, streak, body)
                fact = peers.fact_body(who, streak, answer["new_count"], answer["longest_count"])
                cursor.execute(_DELIVERY, (delivery_id, *destination, fact))
        finally:
            pool.putconn(connection)
        celery.send_task("peer.deliver", (delivery_id,), queue=DELIVERIES)
        return answer, 202

    return app


def _destination(pool: ThreadedConnectionPool) -> tuple[str, str]:
    connection = pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT url, secret FROM peer_webhooks")
            row: Any = cursor.fetchone()
            return row[0], row[1]
    finally:
        pool.putconn(connection)
