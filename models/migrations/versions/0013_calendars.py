"""Calendars: named dates that cost nothing when they are missed."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

TABLES = """
CREATE TABLE calendars (
  tenant_id   integer NOT NULL REFERENCES tenants,
  id          uuid NOT NULL,
  code        text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text,
  dates       date[] NOT NULL CHECK (cardinality(dates) <= 2000),
  is_active   boolean NOT NULL DEFAULT true,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code)
);
ALTER TABLE calendars ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON calendars
  USING (tenant_id = current_setting('unbroken.tenant_id', true)::integer);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE calendars")
