"""Tenants and their API keys.

A tenant's live and test sides are two rows: no query can mix them, because no key joins them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from models import clock, ids
from models.db import Connection, UniqueViolation, metadata, run
from models.errors import NotFound, TenantExists

Mode = Literal["live", "test"]
MODES: tuple[Mode, ...] = ("live", "test")
ID_MAX = 2**31 - 1  # the column's integer
ADMIN_SCOPES = frozenset({"admin", "gamify:admin"})

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("slug", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("is_enabled", sa.Boolean, nullable=False),
    sa.Column("participant_writes_per_minute", sa.Integer, nullable=False),
    sa.Column("tick_secret", sa.LargeBinary, nullable=False),
    sa.Column("config_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("writes_per_minute", sa.Integer, nullable=False, server_default="0"),
    sa.Column("allows_unknown_fields", sa.Boolean, nullable=False, server_default="false"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("sha256", sa.LargeBinary, nullable=False),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    sa.Column("writes_per_minute", sa.Integer, nullable=False, server_default="0"),
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One side (live or test) of a tenant."""

    id: int
    slug: str
    mode: Mode
    is_enabled: bool
    participant_writes_per_minute: int  # 0: no cap
    tick_secret: bytes
    writes_per_minute: int = 0  # of all its keys together; 0: no cap
    allows_unknown_fields: bool = False  # True: ignored as before; False: refused

    def secret_of_ids(self, salt: bytes) -> bytes:
        """The secret that marks the tenant's ids of one kind of write."""
        return self.tick_secret + salt


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored: only its hash is kept."""

    tenant_id: int
    id: UUID
    hint: str
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    writes_per_minute: int = 0  # 0: no cap

    def is_valid_at(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def is_admin(self) -> bool:
        """Whether it carries `admin` or `gamify:admin` (seed 001)."""
        return bool(self.scopes & ADMIN_SCOPES)


# -- keys as text ----------------------------------------------------------------------------

_RANDOM_CHARS = 32  # base62: 190 bits
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_CHARS = 6


def new_key(mode: Mode) -> str:
    """A fresh key: `bq_live_` or `bq_test_`, random characters, a checksum."""
    body = f"bq_{mode}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the checksum fits: a mistyped key is refused without a database read."""
    return (
        len(key) == 8 + _RANDOM_CHARS + _CHECK_CHARS
        and key.startswith(("bq_live_", "bq_test_"))
        and key.isascii()
        and _checksum(key[:-_CHECK_CHARS]) == key[-_CHECK_CHARS:]
    )


def hash_key(key: str) -> bytes:
    """The SHA-256 under which a key is stored."""
    return hashlib.sha256(key.encode()).digest()


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, 62)
        text = _ALPHABET[digit] + text
    return text


# -- queries ---------------------------------------------------------------------------------


def create(connection: Connection, slug: str, writes_per_minute: int) -> dict[Mode, Tenant]:
    """Create both sides of a tenant; raise TenantExists when the slug is taken."""
    try:
        return {mode: _insert(connection, slug, mode, writes_per_minute) for mode in MODES}
    except UniqueViolation as error:
        raise TenantExists(slug) from error


def _insert(connection: Connection, slug: str, mode: Mode, writes_per_minute: int) -> Tenant:
    row = connection.execute(
        sa.insert(tenants)
        .values(
            slug=slug,
            mode=mode,
            is_enabled=True,
            participant_writes_per_minute=writes_per_minute,
            tick_secret=os.urandom(16),
            created_at=clock.now(),
        )
        .returning(tenants)
    ).one()
    return _tenant(row)


def by_slug(connection: Connection, slug: str) -> dict[Mode, Tenant]:
    """Both sides of a tenant; raise NotFound without them."""
    rows = connection.execute(sa.select(tenants).where(tenants.c.slug == slug)).all()
    if not rows:
        raise NotFound(f"Tenant '{slug}' not found")
    return {row.mode: _tenant(row) for row in rows}


def by_id(connection: Connection, tenant_id: int) -> Tenant:
    """One side of a tenant."""
    return _tenant(connection.execute(sa.select(tenants).where(tenants.c.id == tenant_id)).one())


def find(connection: Connection, tenant_id: int) -> Tenant | None:
    """One side of a tenant, or None."""
    if not 0 < tenant_id <= ID_MAX:
        return None
    row = connection.execute(sa.select(tenants).where(tenants.c.id == tenant_id)).one_or_none()
    return None if row is None else _tenant(row)


def versions(connection: Connection, tenant_ids: list[int]) -> dict[int, int]:
    """The version of each tenant's configuration; unknown tenants are missing."""
    rows = run(
        connection,
        "SELECT id, config_version FROM tenants WHERE id = ANY(%(ids)s)",
        {"ids": tenant_ids},
    )
    return dict(rows)


def all_ids(connection: Connection) -> list[int]:
    """The ids of both sides of every tenant."""
    return list(connection.execute(sa.select(tenants.c.id).order_by(tenants.c.id)).scalars())


def change(connection: Connection, slug: str, **values: bool | int) -> dict[Mode, Tenant]:
    """Change both sides of a tenant: `is_enabled`, `participant_writes_per_minute`,
    `writes_per_minute`, `allows_unknown_fields`."""
    connection.execute(sa.update(tenants).where(tenants.c.slug == slug).values(**values))
    return by_slug(connection, slug)


def create_key(
    connection: Connection,
    tenant: Tenant,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> tuple[UUID, str]:
    """Create a key and return its id and, this once only, the key itself."""
    key, key_id = new_key(tenant.mode), ids.uuid7(clock.now_us())
    connection.execute(
        sa.insert(api_keys).values(
            tenant_id=tenant.id,
            id=key_id,
            sha256=hash_key(key),
            hint=f"{key[:8]}…{key[-4:]}",
            scopes=list(scopes),
            created_at=clock.now(),
            expires_at=expires_at,
        )
    )
    return key_id, key


def find_key(connection: Connection, key: str) -> ApiKey | None:
    """The stored key for a presented one, valid or not."""
    row = connection.execute(
        sa.select(api_keys).where(api_keys.c.sha256 == hash_key(key))
    ).one_or_none()
    return None if row is None else _api_key(row)


def hashes_not_revoked(connection: Connection) -> frozenset[bytes]:
    """The hashes of all keys, of every tenant, that are neither revoked nor expired."""
    return frozenset(
        bytes(scalar)
        for scalar in connection.execute(
            sa.select(api_keys.c.sha256).where(
                api_keys.c.revoked_at.is_(None),
                sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > sa.func.now()),
            )
        ).scalars()
    )


def list_keys(connection: Connection, tenant_ids: Sequence[int]) -> list[ApiKey]:
    """The keys of some tenants, oldest first."""
    rows = connection.execute(
        sa.select(api_keys)
        .where(api_keys.c.tenant_id.in_(tenant_ids))
        .order_by(api_keys.c.created_at)
    )
    return [_api_key(row) for row in rows]


def key_by_id(connection: Connection, key_id: UUID) -> ApiKey:
    """A key by its id, of any tenant: for the operator's command line."""
    row = connection.execute(sa.select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"Key '{key_id}' not found")
    return _api_key(row)


def cap_key(connection: Connection, tenant_id: int, key_id: UUID, writes_per_minute: int) -> None:
    """Set how many writes a minute a key may make; 0: no cap."""
    connection.execute(
        sa.update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .values(writes_per_minute=writes_per_minute)
    )


def revoke_key(connection: Connection, tenant_id: int, key_id: UUID) -> None:
    """Revoke a key; a revoked key keeps its first instant."""
    connection.execute(
        sa.update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .where(api_keys.c.revoked_at.is_(None))
        .values(revoked_at=clock.now())
    )


def _tenant(row: Any) -> Tenant:
    return Tenant(
        row.id,
        row.slug,
        row.mode,
        row.is_enabled,
        row.participant_writes_per_minute,
        bytes(row.tick_secret),
        row.writes_per_minute,
        row.allows_unknown_fields,
    )


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        row.tenant_id,
        row.id,
        row.hint,
        frozenset(row.scopes),
        row.expires_at,
        row.revoked_at,
        row.writes_per_minute,
    )
