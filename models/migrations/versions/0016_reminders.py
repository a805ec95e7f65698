"""Reminders: when a streak's definition sends them, and which was sent last."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

COLUMNS = """
ALTER TABLE streaks ADD COLUMN reminder jsonb;
COMMENT ON COLUMN streaks.reminder IS
  'When those who have not recorded the current period are reminded; NULL: never.';
ALTER TABLE streak_states
  ADD COLUMN told_reminder integer,
  ADD COLUMN told_reminder_due_at timestamptz;
COMMENT ON COLUMN streak_states.told_reminder IS
  'The period of the last behavior.streak_reminder_due.';
COMMENT ON COLUMN streak_states.told_reminder_due_at IS
  'When the last behavior.streak_reminder_due was due.';
"""


def upgrade() -> None:
    op.execute(COLUMNS)


def downgrade() -> None:
    raise RuntimeError("Reminders would be sent twice: restore a backup instead.")
