"""Targets: the progress of periods, and ticks that did not reach it yet."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

TABLES = """
CREATE TABLE streak_progress (
  tenant_id        integer NOT NULL,
  participant_id   bigint NOT NULL,
  streak_id        integer NOT NULL,
  period           integer NOT NULL,
  value            bigint NOT NULL CHECK (value >= 0),
  days             integer NOT NULL DEFAULT 0,
  last_recorded_at timestamptz NOT NULL,
  last_timezone    text,
  PRIMARY KEY (tenant_id, participant_id, streak_id, period),
  FOREIGN KEY (tenant_id, streak_id) REFERENCES streaks,
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE
);
COMMENT ON TABLE streak_progress IS
  'Of streaks with a target: what the ticks of each period add up to. A period is recorded in '
  'streak_states once it reaches the target.';
COMMENT ON COLUMN streak_progress.value IS 'In thousandths: ticks, days, or the sum of values.';
COMMENT ON COLUMN streak_progress.days IS 'Bit n: the period''s day n has a tick.';
ALTER TABLE streak_progress ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON streak_progress
  USING (tenant_id = current_setting('unbroken.tenant_id', true)::integer);
"""

# NOT VALID first: to validate reads the table under a lock that lets writes through.
LEDGER = """
ALTER TABLE ticks
  ADD COLUMN value bigint,
  ADD COLUMN progress bigint;
COMMENT ON COLUMN ticks.value IS 'The value that was sent, in thousandths.';
COMMENT ON COLUMN ticks.progress IS
  'The progress of the period after this tick, in thousandths; NULL: a streak without a target.';
ALTER TABLE ticks DROP CONSTRAINT ticks_outcome_check;
ALTER TABLE ticks ADD CONSTRAINT ticks_outcome_check CHECK (outcome IN
  ('started', 'extended', 'reset', 'held', 'repeated', 'backfilled', 'progressed')) NOT VALID;
ALTER TABLE ticks DROP CONSTRAINT ticks_new_count_check;
ALTER TABLE ticks ADD CONSTRAINT ticks_new_count_check
  CHECK (new_count >= 1 OR outcome = 'progressed' AND new_count = 0) NOT VALID;
"""
VALIDATE = (
    "ALTER TABLE ticks VALIDATE CONSTRAINT ticks_outcome_check",
    "ALTER TABLE ticks VALIDATE CONSTRAINT ticks_new_count_check",
)


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(LEDGER)
    for statement in VALIDATE:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("Progress would be lost: restore a backup instead.")
