"""Whether a tenant may send fields and parameters that no description knows."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = """
ALTER TABLE tenants ADD COLUMN allows_unknown_fields boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN tenants.allows_unknown_fields IS
  'Fields and parameters that are not known are ignored, as before; false: they are refused.';
"""


def upgrade() -> None:
    op.execute(STATEMENTS)


def downgrade() -> None:
    op.execute("ALTER TABLE tenants DROP COLUMN allows_unknown_fields")
