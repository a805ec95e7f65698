"""The view follows streaks whose weeks or days start at another time.

Safe beside an older release: it calls none of the new functions. Nothing is rewritten.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"

FUNCTIONS = """
CREATE FUNCTION streak_clocks_show(wanted timestamp, zone text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
  name text := streak_zone(zone);
  around timestamptz := wanted AT TIME ZONE name;
  -- By the offsets of the day before and of the day after: they differ where clocks change.
  early timestamptz := around - interval '1 day';
  late timestamptz := around + interval '1 day';
  middle timestamptz;
BEGIN
  early := (wanted - (early AT TIME ZONE name - early AT TIME ZONE 'UTC')) AT TIME ZONE 'UTC';
  late := (wanted - (late AT TIME ZONE name - late AT TIME ZONE 'UTC')) AT TIME ZONE 'UTC';
  IF early > late THEN
    middle := early;
    early := late;
    late := middle;
  END IF;
  IF early AT TIME ZONE name = wanted THEN RETURN early; END IF;
  IF late AT TIME ZONE name = wanted THEN RETURN late; END IF;
  WHILE late - early > interval '1 second' LOOP  -- skipped: when the clocks skip it
    middle := date_trunc('second', early + (late - early) / 2);
    IF middle AT TIME ZONE name >= wanted THEN late := middle; ELSE early := middle; END IF;
  END LOOP;
  RETURN late;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN wanted AT TIME ZONE 'UTC';
END $$;
COMMENT ON FUNCTION streak_clocks_show IS '_clocks_show() of models/rules/periods.py.';

CREATE FUNCTION streak_first_weekday(fields jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT COALESCE(array_position(
    ARRAY['tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'],
    fields ->> 'week_starts_on'), 0)
$$;

CREATE FUNCTION streak_cadence_period(period text, fields jsonb, instant timestamptz, zone text)
RETURNS integer LANGUAGE plpgsql STABLE AS $$
DECLARE
  starts interval := CAST(COALESCE(fields ->> 'day_starts_at', '00:00') AS interval);
  day date := CAST(streak_local_time(instant, zone) - starts AS date);
BEGIN
  IF starts > interval '0' AND streak_clocks_show(day + 1 + starts, zone) <= instant THEN
    day := day + 1;  -- the clocks went back over its start
  END IF;
  RETURN streak_period(period, day - streak_first_weekday(fields));
END $$;
COMMENT ON FUNCTION streak_cadence_period IS
  'period_at() of models/rules/periods.py; fields is streaks.forgiveness.';

CREATE FUNCTION streak_cadence_starts_at(period text, fields jsonb, number integer, zone text)
RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT streak_clocks_show(
    CASE period
      WHEN 'daily' THEN DATE '1970-01-01' + number
      WHEN 'weekly' THEN DATE '1970-01-01' + number * 7 - 3 + streak_first_weekday(fields)
      ELSE DATE '1970-01-01' + make_interval(months => number) END
    + CAST(COALESCE(fields ->> 'day_starts_at', '00:00') AS interval), zone)
$$;
COMMENT ON FUNCTION streak_cadence_starts_at IS
  'starts_at() of models/rules/periods.py; fields is streaks.forgiveness.';
"""

# As 0014, but for streaks whose weeks or days start at another time.
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
    CASE WHEN c.is_shifted
      THEN streak_cadence_starts_at(d.period, d.forgiveness, w.breaks_at, z.zone)
      ELSE streak_period_starts_at(d.period, w.breaks_at, z.zone) END
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
  SELECT COALESCE(
    jsonb_exists_any(d.forgiveness, ARRAY['week_starts_on', 'day_starts_at']), false
  ) AS is_shifted
) c
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
  SELECT w.breaks_at - 1 - CASE
    WHEN c.is_shifted THEN streak_cadence_period(d.period, d.forgiveness, now(), z.zone)
    ELSE streak_period(d.period, CAST(
      CASE z.zone WHEN 'UTC' THEN now() AT TIME ZONE 'UTC' ELSE streak_local_time(now(), z.zone) END
      AS date)) END AS periods_left
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
"""


def upgrade() -> None:
    op.execute(FUNCTIONS)
    op.execute(VIEW)


def downgrade() -> None:
    raise RuntimeError("The view would read shifted streaks wrong: restore a backup instead.")
