"""A test send: one signed sample to a destination, now, whatever its state; nothing is stored."""

from __future__ import annotations

import asyncio
from uuid import UUID

from yarl import URL

from models import clock
from models.delivery.destinations import Webhook
from webhooks import egress, http_client
from webhooks.attempt import SendOptions, headers_of, keys_at
from webhooks.errors import EgressRefused
from webhooks.http_client import HttpResult


def send(options: SendOptions, webhook: Webhook, fact_id: UUID, body: str) -> HttpResult:
    """Send a body as a fact of that id and return the result, after 15 s at the latest.

    Raises SecretsError when the destination's secret cannot be decrypted. Blocks: never call it on
    a deliverer's event loop, nor in an open transaction.
    """
    now = clock.now()
    raw = body.encode()
    headers = headers_of(keys_at(options.ring, webhook, now), fact_id, now, raw)
    try:
        url = egress.parse(webhook.url, options.policy)
    except EgressRefused:  # the operator allows less than at the destination's creation
        return HttpResult(duration_ms=0, error=http_client.UNREACHABLE)
    return asyncio.run(_post(options, url, raw, headers))


async def _post(options: SendOptions, url: URL, body: bytes, headers: dict[str, str]) -> HttpResult:
    connection = options.open_session()
    try:
        return await http_client.post(connection, url, body, headers)
    finally:
        await http_client.close(connection)
