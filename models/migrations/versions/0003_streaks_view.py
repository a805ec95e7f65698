"""participant_streaks_view: what every streak reads now, for campaigns and reports in SQL."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

FUNCTIONS = """
CREATE FUNCTION streak_standing(
  recorded int4multirange, grace integer, reset boolean,
  OUT current_count integer, OUT longest_count integer, OUT grace_remaining integer
) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  part int4range;
  last integer;
  missed integer;
BEGIN
  current_count := 0;
  longest_count := 0;
  grace_remaining := grace;
  FOR part IN SELECT unnest(recorded) LOOP
    missed := lower(part) - last - 1;
    IF last IS NULL OR missed <= grace_remaining THEN
      current_count := current_count + 1;
      grace_remaining := grace_remaining - COALESCE(missed, 0);
    ELSE
      current_count := CASE WHEN reset THEN 1 ELSE current_count END;
      grace_remaining := grace;
    END IF;
    last := upper(part) - 1;
    current_count := current_count + last - lower(part);
    longest_count := GREATEST(longest_count, current_count);
  END LOOP;
END $$;
COMMENT ON FUNCTION streak_standing IS 'walk() of models/rules/streaks.py: keep them the same.';

-- Some names of zones are also abbreviations, which Postgres would prefer: CET without its summers.
CREATE FUNCTION streak_zone(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE name
    WHEN 'CET' THEN 'Europe/Brussels' WHEN 'MET' THEN 'Europe/Brussels'
    WHEN 'EET' THEN 'Europe/Athens' WHEN 'WET' THEN 'Europe/Lisbon'
    WHEN 'EST' THEN 'America/Panama' WHEN 'MST' THEN 'America/Phoenix'
    WHEN 'HST' THEN 'Pacific/Honolulu' ELSE name END
$$;

CREATE FUNCTION streak_local_time(instant timestamptz, zone text) RETURNS timestamp
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN instant AT TIME ZONE streak_zone(zone);
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN instant AT TIME ZONE 'UTC';
END $$;
COMMENT ON FUNCTION streak_local_time IS
  'UTC for a zone that this server does not know: one row must not spoil the view.';

CREATE FUNCTION streak_period(period text, day date) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE period
    WHEN 'daily' THEN day - DATE '1970-01-01'
    WHEN 'weekly' THEN (day - DATE '1970-01-01' + 3) / 7
    ELSE CAST(EXTRACT(year FROM day) * 12 + EXTRACT(month FROM day) AS integer) - 1970 * 12 - 1 END
$$;
COMMENT ON FUNCTION streak_period IS 'period_of_day() of models/rules/periods.py, from 1970 on.';

CREATE FUNCTION streak_period_starts_at(period text, number integer, zone text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
  midnight timestamp := CASE period
    WHEN 'daily' THEN DATE '1970-01-01' + number
    WHEN 'weekly' THEN DATE '1970-01-01' + number * 7 - 3
    ELSE DATE '1970-01-01' + make_interval(months => number) END;
  late timestamptz;
  early timestamptz;
BEGIN
  late := midnight AT TIME ZONE streak_zone(zone);
  early := late - interval '1 hour';  -- where midnight comes twice, the day begins at the first
  RETURN CASE WHEN early AT TIME ZONE streak_zone(zone) = midnight THEN early ELSE late END;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN midnight AT TIME ZONE 'UTC';
END $$;
COMMENT ON FUNCTION streak_period_starts_at IS 'starts_at() of models/rules/periods.py.';
"""

# OFFSET 0 and UNION ALL keep each row's zone, walk and period from being computed several times.
VIEW = """
CREATE VIEW participant_streaks_view AS
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
    streak_period_starts_at(d.period, upper(s.recorded) + w.grace_remaining + 1, z.zone)
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
  SELECT s.current_count, s.longest_count, s.grace_remaining WHERE s.revision = d.revision
  UNION ALL
  SELECT again.current_count, again.longest_count, again.grace_remaining
  FROM streak_standing(s.recorded, d.grace_periods, d.reset_on_miss) again
  WHERE s.revision <> d.revision
) w
CROSS JOIN LATERAL (
  SELECT w.grace_remaining - streak_period(d.period, CAST(
    CASE z.zone WHEN 'UTC' THEN now() AT TIME ZONE 'UTC' ELSE streak_local_time(now(), z.zone) END
    AS date)) + upper(s.recorded) AS periods_left
  OFFSET 0
) l
CROSS JOIN LATERAL (
  SELECT CASE
    WHEN l.periods_left > 0 THEN 'active'
    WHEN l.periods_left = 0 THEN 'at_risk'
    WHEN d.reset_on_miss THEN 'broken'
    ELSE 'paused' END AS status
) now_
WHERE t.slug = COALESCE(NULLIF(current_setting('unbroken.tenant', true), ''), t.slug)
  AND t.mode = COALESCE(NULLIF(current_setting('unbroken.mode', true), ''), t.mode);
COMMENT ON VIEW participant_streaks_view IS
  'GET /participants/{id}/streaks for everybody, live. The settings unbroken.tenant and'
  ' unbroken.mode, of a session or a role, narrow it.';
"""


def upgrade() -> None:
    op.execute(FUNCTIONS)
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW participant_streaks_view")
    op.execute(
        "DROP FUNCTION streak_standing, streak_zone, streak_local_time, streak_period,"
        " streak_period_starts_at"
    )
