"""Aliases: a participant that was merged into another keeps its row, as the name of the survivor.

Safe beside an older release until the first merge: it neither reads nor writes the column.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"

STATEMENTS = """
ALTER TABLE participants ADD COLUMN merged_into bigint CHECK (merged_into <> id);
CREATE INDEX participants_aliases ON participants (tenant_id, merged_into)
  WHERE merged_into IS NOT NULL;
COMMENT ON COLUMN participants.merged_into IS
  'The participant that this id counts for since a merge, never an alias itself; NULL: no alias.';
"""


def upgrade() -> None:
    op.execute(STATEMENTS)


def downgrade() -> None:
    raise RuntimeError("Writes of merged ids would count apart again: restore a backup instead.")
