"""Revocations: points of a milestone that is no longer reached are taken back."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"

# NOT VALID first: to validate reads the table under a lock that lets writes through.
POINTS = """
ALTER TABLE point_transactions DROP CONSTRAINT point_transactions_kind_check;
ALTER TABLE point_transactions ADD CONSTRAINT point_transactions_kind_check
  CHECK (kind IN ('award', 'deduct', 'claim', 'milestone', 'challenge', 'opening',
    'opening_spent', 'freeze', 'revocation')) NOT VALID;
"""
VALIDATE = "ALTER TABLE point_transactions VALIDATE CONSTRAINT point_transactions_kind_check"


def upgrade() -> None:
    op.execute(POINTS)
    op.execute(VALIDATE)


def downgrade() -> None:
    raise RuntimeError("Revocations would be lost: restore a backup instead.")
