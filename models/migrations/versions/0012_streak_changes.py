"""What was done to a participant's streaks: the ledger of these changes, and pauses.

Safe beside an older release: it neither reads nor writes the new tables, and charges no freezes.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

# A batch locks participants before any ledger: without this lock first, it and the changes below
# could wait for each other.
ALONE = "LOCK TABLE participants IN EXCLUSIVE MODE"

TABLES = """
CREATE TABLE streak_changes (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  participant_id bigint NOT NULL,
  streak_id      integer,
  kind           text NOT NULL CHECK (kind IN ('pause', 'pause_removed', 'freeze_granted',
                   'freeze_bought', 'repair', 'restore', 'tick_retracted', 'period_retracted',
                   'merge')),
  reason         text,
  details        jsonb NOT NULL DEFAULT '{}',
  answer         json NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  sequence       bigint NOT NULL DEFAULT nextval('applied_sequence'),
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX streak_changes_participant ON streak_changes (tenant_id, participant_id, sequence);
COMMENT ON TABLE streak_changes IS
  'The ledger of what was done to the streaks of participants: pauses, freezes, repairs,
retractions; appended to, never changed, never dropped by retention.';
COMMENT ON COLUMN streak_changes.id IS 'UUIDv7: when it was accepted.';
COMMENT ON COLUMN streak_changes.streak_id IS 'NULL: it concerns several streaks.';
COMMENT ON COLUMN streak_changes.details IS 'What it changed, as its kind needs it again.';
COMMENT ON COLUMN streak_changes.answer IS 'The answer to the write.';
COMMENT ON COLUMN streak_changes.sequence IS 'The order in which it was applied.';

CREATE TABLE pauses (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  participant_id bigint NOT NULL,
  first_day      integer NOT NULL,
  last_day       integer NOT NULL,
  streak_ids     integer[] CHECK (cardinality(streak_ids) >= 1),
  reason         text,
  created_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE,
  CHECK (last_day BETWEEN first_day AND first_day + 365)
);
CREATE INDEX pauses_participant ON pauses (tenant_id, participant_id, first_day);
COMMENT ON TABLE pauses IS 'Days on which streaks of a participant are protected.';
COMMENT ON COLUMN pauses.id IS 'UUIDv7: the id of the write that made it.';
COMMENT ON COLUMN pauses.first_day IS 'Local days since 1970; the last day is included.';
COMMENT ON COLUMN pauses.streak_ids IS 'NULL: every streak.';
"""

GUARDED = """
DO $$
DECLARE
  guarded text;
BEGIN
  FOREACH guarded IN ARRAY ARRAY['streak_changes', 'pauses'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format(
      'CREATE POLICY tenant ON %I USING '
      '(tenant_id = current_setting(''unbroken.tenant_id'', true)::integer)', guarded);
  END LOOP;
END $$;
"""

# NOT VALID first: to validate reads the table under a lock that lets writes through.
POINTS = """
ALTER TABLE point_transactions DROP CONSTRAINT point_transactions_kind_check;
ALTER TABLE point_transactions ADD CONSTRAINT point_transactions_kind_check
  CHECK (kind IN ('award', 'deduct', 'claim', 'milestone', 'challenge', 'opening',
    'opening_spent', 'freeze')) NOT VALID;
"""
VALIDATE = "ALTER TABLE point_transactions VALIDATE CONSTRAINT point_transactions_kind_check"


def upgrade() -> None:
    for statements in (ALONE, TABLES, GUARDED, POINTS, VALIDATE):
        op.execute(statements)


def downgrade() -> None:
    raise RuntimeError("Pauses, freezes and repairs would be lost: restore a backup instead.")
