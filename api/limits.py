"""Caps on writes, and the headers that tell how much is left."""

from __future__ import annotations

from collections.abc import Sequence

from flask import g

from api.errors import Problem
from models.tenants import Tenant
from workers.intake import Token


def rate_exceeded(tenant: Tenant, token: Token) -> Problem:
    """429 with the documented code: this participant's writes are over the cap."""
    headers = rate_headers(tenant, token)
    headers["Retry-After"] = headers["X-RateLimit-Reset"]
    detail = (
        f"At most {tenant.participant_writes_per_minute} writes a minute per participant."
        f" Try again in {headers['Retry-After']} s."
    )
    return Problem(429, "RATE_LIMIT_PARTICIPANT_EXCEEDED", detail, headers=headers)


def rate_headers(tenant: Tenant, token: Token) -> dict[str, str]:
    """Limit and remaining in writes, reset in seconds from now."""
    return {
        "X-RateLimit-Limit": str(tenant.participant_writes_per_minute),
        "X-RateLimit-Remaining": str(token.remaining),
        "X-RateLimit-Reset": str(max(1, -(-token.reset_ms // 1_000))),
    }


def add_rate_headers(tenant: Tenant, tokens: Sequence[Token]) -> None:
    """Put the headers on this request's response, when a cap applies."""
    if tokens and tenant.participant_writes_per_minute:
        g.rate_headers = rate_headers(tenant, tokens[0])
