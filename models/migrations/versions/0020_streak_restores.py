"""Restores of many streaks: jobs with their progress.

Safe beside an older release: it does not read the new table.
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"

TABLE = """
CREATE TABLE streak_restores (
  tenant_id          integer NOT NULL,
  id                 uuid NOT NULL,
  streak_id          integer NOT NULL,
  is_preview         boolean NOT NULL,
  reason             text,
  lost_unit          text CHECK (lost_unit IN ('instant', 'day')),
  lost_from          bigint,
  lost_until         bigint CHECK (lost_until > lost_from),
  participants       bigint[],
  status             text NOT NULL DEFAULT 'running'
                     CHECK (status IN ('running', 'done', 'cancelled')),
  position           bigint NOT NULL DEFAULT 0,
  total              bigint NOT NULL,
  scanned            bigint NOT NULL DEFAULT 0,
  found              bigint NOT NULL DEFAULT 0,
  restored           bigint NOT NULL DEFAULT 0,
  nothing_to_restore bigint NOT NULL DEFAULT 0,
  refused            bigint NOT NULL DEFAULT 0,
  idempotency_key    text,
  fingerprint        text,
  created_at         timestamptz NOT NULL,
  finished_at        timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, streak_id) REFERENCES streaks,
  CHECK ((lost_unit IS NULL) = (participants IS NOT NULL)),
  CHECK ((lost_unit IS NULL) = (lost_from IS NULL) AND (lost_unit IS NULL) = (lost_until IS NULL))
);
CREATE INDEX streak_restores_running ON streak_restores (tenant_id, id) WHERE status = 'running';
CREATE UNIQUE INDEX streak_restores_alone ON streak_restores (tenant_id, streak_id)
  WHERE status = 'running' AND NOT is_preview;
CREATE UNIQUE INDEX streak_restores_key ON streak_restores (tenant_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
COMMENT ON TABLE streak_restores IS
  'Jobs that restore the streaks of listed participants, or of those who lost them in a span.';
COMMENT ON COLUMN streak_restores.lost_from IS
  'By lost_unit: microseconds, or local days, since 1970; lost_until is excluded.';
COMMENT ON COLUMN streak_restores.participants IS
  'The listed ones that were known, ascending; emptied when the job ends.';
COMMENT ON COLUMN streak_restores.position IS
  'The last participant that was looked at: the next process goes on after it.';
ALTER TABLE streak_restores ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON streak_restores
  USING (tenant_id = current_setting('unbroken.tenant_id', true)::integer);
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP TABLE streak_restores")
