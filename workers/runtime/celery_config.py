"""The Celery application: queues carry only signals; streams and database hold the data."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from celery import Celery
from redis.connection import parse_url

DRAIN, WEBHOOKS, UPKEEP = "drain", "webhooks", "upkeep"

# A blocking pop waits 1 s. When a link goes silent, a worker detects it on four or five
# connections, one after the other, each time after this long.
SOCKET_SECONDS = 2.5
# A task runs at most `drain_run_seconds` (30); a message unacknowledged for longer goes to another
# worker. The task that it starts then is harmless: messages carry no data.
VISIBILITY_SECONDS = 90


def make_celery(redis_url: str) -> Celery:
    """A Celery application on that Redis; raises nothing until it is used."""
    app = Celery("unbroken", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_enable_remote_control=False,
        # 0 is no limit. A solo worker runs each message before it fetches another, so it hoards
        # nothing. Under a limit of one, a message whose acknowledgement failed (Redis was killed)
        # would use up the limit for ever: kombu fetches no more, and never notices that its
        # connection is broken.
        worker_prefetch_multiplier=0,
        worker_hijack_root_logger=False,
        worker_soft_shutdown_timeout=5.0,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_use_ssl=broker_tls(redis_url),
        broker_connection_retry_on_startup=True,
        # An answer such as READONLY or NOREPLICAS is a failover, not the end of the worker.
        broker_channel_error_retry=True,
        broker_connection_max_retries=None,  # a worker outlives its Redis
        broker_connection_timeout=SOCKET_SECONDS,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 10,
            "queue_order_strategy": "round_robin",
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "socket_keepalive": True,
            "retry_on_timeout": False,
            "health_check_interval": 10,
        },
        # A late wake is worthless: beat sweeps every second for what a lost wake left.
        task_publish_retry=False,
        task_default_delivery_mode="transient",
        task_default_queue=UPKEEP,
        task_queues={name: {"routing_key": name} for name in (DRAIN, WEBHOOKS, UPKEEP)},
        task_create_missing_queues=False,
        timezone="UTC",
    )
    return app


def broker_url(redis_url: str) -> str:
    """Kombu's spelling of a Redis URL, with server and database only, so that kombu never reads a
    query argument meant for redis-py. A Unix socket is `redis+socket://`.
    """
    found = _parsed(redis_url)
    who = quote(found.get("username") or "", safe="")
    if found.get("password"):
        who += f":{quote(found['password'], safe='')}"
    at = f"{who}@" if who else ""
    if "path" in found:
        return f"redis+socket://{at}{found['path']}?virtual_host={found.get('db') or 0}"
    host = found.get("host") or "localhost"
    host = f"[{host}]" if ":" in host else host
    scheme = "rediss" if broker_tls(redis_url) else "redis"
    return f"{scheme}://{at}{host}:{found.get('port') or 6379}/{found.get('db') or 0}"


def broker_tls(redis_url: str) -> dict[str, Any] | None:
    """The `ssl_…` arguments of a `rediss://` URL, with redis-py's default; None for other URLs.

    Without them kombu (5.7) verifies nothing, unlike redis-py.
    """
    if not redis_url.startswith("rediss://"):
        return None
    named = {name: value for name, value in _parsed(redis_url).items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required"} | named


def _parsed(redis_url: str) -> dict[str, Any]:
    parse: Any = parse_url  # redis-py gives it no types
    return dict(parse(redis_url))
