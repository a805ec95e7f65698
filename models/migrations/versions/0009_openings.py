"""Opening balances: what each participant brought along, and the movements that brought it."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

# NOT VALID first: to validate reads the table under a lock that lets writes through.
COLUMNS = """
ALTER TABLE participants
  ADD COLUMN opening_earned bigint,
  ADD COLUMN opening_spent  bigint;
COMMENT ON COLUMN participants.opening_earned IS
  'Points ever earned elsewhere, as the opening balance said; NULL: none was imported.';
ALTER TABLE point_transactions DROP CONSTRAINT point_transactions_kind_check;
ALTER TABLE point_transactions ADD CONSTRAINT point_transactions_kind_check
  CHECK (kind IN ('award', 'deduct', 'claim', 'milestone', 'challenge', 'opening',
    'opening_spent')) NOT VALID;
"""
VALIDATE = "ALTER TABLE point_transactions VALIDATE CONSTRAINT point_transactions_kind_check"


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(VALIDATE)


def downgrade() -> None:
    raise RuntimeError("Opening balances would be lost: restore a backup instead.")
