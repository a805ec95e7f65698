"""Outages: spans that are protected for every participant; the view reads states with forgiveness.

Safe beside an older release: it reads neither the new table nor the new function.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"

TABLE = """
CREATE TABLE outages (
  tenant_id  integer NOT NULL,
  id         uuid NOT NULL,
  starts_at  timestamptz NOT NULL,
  ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
  streak_ids integer[] CHECK (cardinality(streak_ids) >= 1),
  reason     text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE outages IS
  'Spans whose periods are protected for every participant; streaks.outages is made from them.';
COMMENT ON COLUMN outages.streak_ids IS 'NULL: every streak.';
ALTER TABLE outages ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outages USING
  (tenant_id = current_setting('unbroken.tenant_id', true)::integer);
"""

# As 0003, but for states with forgiveness: their last walk says when they break.
VIEW = """
CREATE OR REPLACE VIEW participant_streaks_view AS
SELECT
  t.slug AS tenant,
  t.mode,
  p.external_id AS participant_id,
  p.status AS participant_status,
  d.code AS streak_code,
  d.name AS streak_name,
  d.period,
  now_.status,
  now_.status = 'at_risk' AS is_at_risk,
  CASE now_.status WHEN 'broken' THEN 0 ELSE w.current_count END AS current_count,
  w.longest_count,
  w.grace_remaining,
  s.last_recorded_at,
  CASE WHEN now_.status IN ('active', 'at_risk') THEN
    streak_period_starts_at(d.period, w.breaks_at, z.zone)
  END AS expires_at,
  z.zone AS timezone
FROM streak_states s
JOIN streaks d ON d.tenant_id = s.tenant_id AND d.id = s.streak_id AND d.is_active
JOIN participants p ON p.tenant_id = s.tenant_id AND p.id = s.participant_id
JOIN tenants t ON t.id = s.tenant_id
CROSS JOIN LATERAL (
  SELECT COALESCE(
    s.last_timezone, CASE d.boundary WHEN 'participant' THEN p.timezone END, 'UTC') AS zone
) z
CROSS JOIN LATERAL (
  SELECT s.current_count, s.longest_count, s.grace_remaining,
    CASE WHEN s.forgiveness IS NULL THEN upper(s.recorded) + s.grace_remaining + 1
      ELSE CAST(s.forgiveness ->> 'breaks_at' AS integer) END AS breaks_at
  WHERE s.revision = d.revision OR s.forgiveness IS NOT NULL
  UNION ALL
  SELECT again.current_count, again.longest_count, again.grace_remaining,
    upper(s.recorded) + again.grace_remaining + 1
  FROM streak_standing(s.recorded, d.grace_periods, d.reset_on_miss) again
  WHERE s.revision <> d.revision AND s.forgiveness IS NULL
) w
CROSS JOIN LATERAL (
  SELECT w.breaks_at - 1 - streak_period(d.period, CAST(
    CASE z.zone WHEN 'UTC' THEN now() AT TIME ZONE 'UTC' ELSE streak_local_time(now(), z.zone) END
    AS date)) AS periods_left
  OFFSET 0
) l
CROSS JOIN LATERAL (
  SELECT CASE
    WHEN l.periods_left > 0 OR w.breaks_at IS NULL THEN 'active'
    WHEN l.periods_left = 0 THEN 'at_risk'
    WHEN d.reset_on_miss THEN 'broken'
    ELSE 'paused' END AS status
) now_
WHERE t.slug = COALESCE(NULLIF(current_setting('unbroken.tenant', true), ''), t.slug)
  AND t.mode = COALESCE(NULLIF(current_setting('unbroken.mode', true), ''), t.mode);
COMMENT ON VIEW participant_streaks_view IS
  'GET /participants/{id}/streaks for everybody, live. The settings unbroken.tenant and'
  ' unbroken.mode, of a session or a role, narrow it. A streak with forgiveness reads as of its'
  ' last walk: grace_remaining is what was left after the last recorded period.';
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(VIEW)


def downgrade() -> None:
    raise RuntimeError("Outages would be lost: restore a backup instead.")
