"""Milestones that were reached; in which order points, tiers and claims applied; why one is parked.

Safe beside an older release: it neither reads nor writes the new table, and its appends take their
number from the column's default. Rows of before have no number: they come after those that have
one, in the order of their ids as before. No index is needed: what is read is one participant's.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

MILESTONES = """
CREATE TABLE streak_milestones (
  tenant_id      integer NOT NULL,
  participant_id bigint NOT NULL,
  streak_id      integer NOT NULL,
  count          integer NOT NULL CHECK (count >= 1),
  period         integer NOT NULL,
  tick_id        uuid,
  PRIMARY KEY (tenant_id, participant_id, streak_id, count, period)
);
COMMENT ON TABLE streak_milestones IS
  'Which counts of a streak a participant has reached: each once, or once in each run.';
COMMENT ON COLUMN streak_milestones.period IS
  'The recorded period by which it was reached: it says which run. 0: unknown, see migration 0008.';
"""

# The ledger of points is never dropped: it knows what was given before there was a record.
TAKEN_OVER = """
INSERT INTO streak_milestones (tenant_id, participant_id, streak_id, count, period, tick_id)
SELECT DISTINCT ON (w.tenant_id, w.participant_id, s.id, (w.metadata::json ->> 'milestone')::int)
  w.tenant_id, w.participant_id, s.id, (w.metadata::json ->> 'milestone')::int, 0,
  (w.metadata::json ->> 'tick_id')::uuid
FROM point_transactions w
JOIN participants p ON p.tenant_id = w.tenant_id AND p.id = w.participant_id
JOIN streaks s ON s.tenant_id = w.tenant_id AND s.code = w.source
WHERE w.kind = 'milestone' AND w.metadata::json ->> 'milestone' IS NOT NULL
"""

# After the scan, since it keeps out every batch until the commit. A batch locks participants before
# any ledger: without this lock first, it and the changes below could wait for each other.
ALONE = "LOCK TABLE participants IN EXCLUSIVE MODE"

GUARDED = """
ALTER TABLE streak_milestones
  ADD FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE;
ALTER TABLE streak_milestones ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON streak_milestones USING
  (tenant_id = current_setting('unbroken.tenant_id', true)::integer);
"""

SEQUENCES = """
CREATE SEQUENCE applied_sequence AS bigint;
COMMENT ON SEQUENCE applied_sequence IS
  'Taken under the participant''s lock: what was applied later has the greater number.';
ALTER TABLE point_transactions ADD COLUMN sequence bigint;
ALTER TABLE point_transactions ALTER COLUMN sequence SET DEFAULT nextval('applied_sequence');
ALTER TABLE tier_changes ADD COLUMN sequence bigint;
ALTER TABLE tier_changes ALTER COLUMN sequence SET DEFAULT nextval('applied_sequence');
ALTER TABLE reward_claims ADD COLUMN sequence bigint;
ALTER TABLE reward_claims ALTER COLUMN sequence SET DEFAULT nextval('applied_sequence');
COMMENT ON COLUMN point_transactions.sequence IS
  'The order in which it was applied; NULL: before migration 0008.';
"""

WHY_PARKED = """
ALTER TABLE webhook_health ADD COLUMN last_failure text;
COMMENT ON COLUMN webhook_health.last_failure IS
  'What the last failed attempt met with: an error, or the status of the answer.';
"""


def upgrade() -> None:
    for statements in (MILESTONES, TAKEN_OVER, ALONE, GUARDED, SEQUENCES, WHY_PARKED):
        op.execute(statements)


def downgrade() -> None:
    raise RuntimeError("What was reached would be reached again: restore a backup instead.")
