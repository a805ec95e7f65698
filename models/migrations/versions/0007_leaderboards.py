"""Leaderboards: definitions, who stands where, and how many have each score."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
CREATE TABLE leaderboards (
  tenant_id   integer NOT NULL REFERENCES tenants,
  id          uuid NOT NULL,
  code        text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text,
  metric      text NOT NULL CHECK (metric IN ('streak', 'points')),
  streak_code text,
  window_days integer NOT NULL CHECK (window_days BETWEEN 1 AND 366),
  is_active   boolean NOT NULL DEFAULT true,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code),
  CHECK ((metric = 'streak') = (streak_code IS NOT NULL))
);

CREATE TABLE leaderboard_progress (
  tenant_id      integer NOT NULL,
  leaderboard_id uuid NOT NULL,
  followed_xid   bigint NOT NULL,
  followed_id    uuid NOT NULL,
  followed_at    timestamptz NOT NULL,
  built_to       bigint,
  revision       integer NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, leaderboard_id),
  FOREIGN KEY (tenant_id, leaderboard_id) REFERENCES leaderboards ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE leaderboard_progress IS
  'How far a leaderboard has followed the facts: up to that of (followed_xid, followed_id).';
COMMENT ON COLUMN leaderboard_progress.built_to IS
  'While it is built from what was before: the last participant looked at. NULL: it is built.';
COMMENT ON COLUMN leaderboard_progress.revision IS
  'Of the streak''s rules by which it was built.';

CREATE TABLE leaderboard_entries (
  tenant_id      integer NOT NULL,
  leaderboard_id uuid NOT NULL,
  participant_id bigint NOT NULL,
  score          bigint NOT NULL CHECK (score >= 1),
  reached_at     timestamptz NOT NULL,
  due_day        integer NOT NULL,
  PRIMARY KEY (tenant_id, leaderboard_id, participant_id),
  FOREIGN KEY (tenant_id, leaderboard_id) REFERENCES leaderboards,
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants
);
CREATE INDEX leaderboard_entries_top
  ON leaderboard_entries (tenant_id, leaderboard_id, score DESC, reached_at, participant_id);
CREATE INDEX leaderboard_entries_due ON leaderboard_entries (tenant_id, leaderboard_id, due_day);
CREATE INDEX leaderboard_entries_participant ON leaderboard_entries (tenant_id, participant_id);
COMMENT ON COLUMN leaderboard_entries.due_day IS
  'The day (since 1970) on which time alone changes the score: then it is looked at again.';

CREATE TABLE leaderboard_counts (
  tenant_id      integer NOT NULL,
  leaderboard_id uuid NOT NULL,
  level          smallint NOT NULL,
  prefix         bigint NOT NULL,
  count          bigint NOT NULL CHECK (count >= 0),
  PRIMARY KEY (tenant_id, leaderboard_id, level, prefix),
  FOREIGN KEY (tenant_id, leaderboard_id) REFERENCES leaderboards
) WITH (fillfactor = 70);
COMMENT ON TABLE leaderboard_counts IS
  'How many entries have a score whose number shifted right by 8 bits a level is the prefix. Those
above a score are the sum of some short ranges, however many entries there are.';

CREATE TABLE leaderboard_changes (
  tenant_id      integer NOT NULL,
  leaderboard_id uuid NOT NULL,
  participant_id bigint NOT NULL,
  PRIMARY KEY (tenant_id, leaderboard_id, participant_id),
  FOREIGN KEY (tenant_id, leaderboard_id) REFERENCES leaderboards ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE
);
COMMENT ON TABLE leaderboard_changes IS
  'Whom a leaderboard has to look at again although no fact says so.';
"""

POLICIES = """
DO $$
DECLARE
  guarded text;
BEGIN
  FOREACH guarded IN ARRAY ARRAY['leaderboards', 'leaderboard_progress', 'leaderboard_entries',
    'leaderboard_counts', 'leaderboard_changes']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format(
      'CREATE POLICY tenant ON %I USING '
      '(tenant_id = current_setting(''unbroken.tenant_id'', true)::integer)', guarded);
  END LOOP;
END $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(POLICIES)


def downgrade() -> None:
    raise RuntimeError("Leaderboards can be built again: drop their tables by hand instead.")
