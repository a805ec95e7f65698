"""Forgiveness: what a streak's definition says about it, and what a state's walk needs."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

COLUMNS = """
ALTER TABLE streaks
  ADD COLUMN forgiveness jsonb,
  ADD COLUMN holidays jsonb,
  ADD COLUMN outages jsonb;
COMMENT ON COLUMN streaks.forgiveness IS
  'The optional fields of the definition that were given, by name; NULL: none.';
COMMENT ON COLUMN streaks.holidays IS
  'Days since 1970 of its calendars: [[first, after the last], ...], ascending; NULL: none.';
COMMENT ON COLUMN streaks.outages IS
  'Outages that concern it: [[start, end], ...] in microseconds since 1970; NULL: none.';
ALTER TABLE streak_states ADD COLUMN forgiveness jsonb;
COMMENT ON COLUMN streak_states.forgiveness IS
  'What the walk of this state needs beside the recorded periods; NULL: nothing.';
ALTER TABLE participants ADD COLUMN has_pauses boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN participants.has_pauses IS
  'Whether the participant has pauses: only then a new state looks for them.';
"""


def upgrade() -> None:
    op.execute(COLUMNS)


def downgrade() -> None:
    raise RuntimeError("Pauses and freezes would be lost: restore a backup instead.")
