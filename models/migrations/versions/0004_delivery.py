"""Delivery: rotation, order, throttles, breaker, replays, the pull feed; facts without a tick."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
ALTER TABLE webhooks
  ADD COLUMN previous_secret text,
  ADD COLUMN previous_until  timestamptz,
  ADD COLUMN signing_key     text,
  ADD COLUMN is_ordered      boolean NOT NULL DEFAULT false,
  ADD COLUMN rate_per_second integer CHECK (rate_per_second BETWEEN 1 AND 10000),
  ADD COLUMN in_flight_max   integer CHECK (in_flight_max BETWEEN 1 AND 128),
  ADD COLUMN retry_seconds   integer[] CHECK (cardinality(retry_seconds) <= 20),
  ADD COLUMN streak_codes    text[] CHECK (cardinality(streak_codes) BETWEEN 1 AND 100),
  ADD COLUMN disabled_reason text,
  ADD CHECK ((previous_secret IS NULL) = (previous_until IS NULL));
COMMENT ON COLUMN webhooks.previous_secret IS
  'Encrypted. Signs beside the newest one until previous_until: the overlap of a rotation.';
COMMENT ON COLUMN webhooks.signing_key IS
  'Encrypted ed25519 key for v1a signatures; NULL: v1 only.';
COMMENT ON COLUMN webhooks.retry_seconds IS
  'Seconds before each retry; NULL: the default schedule.';
COMMENT ON COLUMN webhooks.streak_codes IS
  'Of the facts about streaks only those about these; NULL: about any.';
COMMENT ON COLUMN webhooks.disabled_reason IS
  'Why we disabled it (gone | asked | failing); NULL while enabled or when its owner did.';
DROP TRIGGER config_version ON webhooks;
CREATE TRIGGER config_version
  AFTER INSERT OR DELETE OR UPDATE OF event_types, is_enabled, is_ordered, streak_codes ON webhooks
  FOR EACH ROW EXECUTE FUNCTION count_config_version();

CREATE TABLE webhook_health (
  tenant_id     integer NOT NULL,
  webhook_id    uuid NOT NULL,
  failures      integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
  failing_since timestamptz,
  parked_until  timestamptz,
  is_told       boolean NOT NULL DEFAULT false,
  next_free_at  timestamptz,
  PRIMARY KEY (tenant_id, webhook_id),
  FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
) WITH (fillfactor = 70);
COMMENT ON TABLE webhook_health IS
  'The breaker: one row a destination, changed when its health changes, never once a delivery.';
COMMENT ON COLUMN webhook_health.next_free_at IS
  'With a rate_per_second: the instant up to which sends are spent. Changed by each claim.';

ALTER TABLE facts ALTER COLUMN participant_id DROP NOT NULL;
ALTER TABLE facts ALTER COLUMN sequence DROP NOT NULL;
ALTER TABLE facts ADD COLUMN streak_code text;
ALTER TABLE facts ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX facts_feed ON facts (tenant_id, xid, id);
COMMENT ON COLUMN facts.xid IS
  'The transaction that wrote it: the feed shows only what no transaction under way can precede.';
COMMENT ON COLUMN facts.participant_id IS 'NULL for facts about a destination.';

ALTER TABLE deliveries ADD COLUMN participant_id bigint;
ALTER TABLE deliveries ADD COLUMN sequence bigint;
CREATE INDEX deliveries_order
  ON deliveries_pending (tenant_id, webhook_id, participant_id, sequence)
  WHERE participant_id IS NOT NULL;
-- Each row stands in one of the two: a long queue of ordered ones is not in the way of the others.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due
  ON deliveries_pending (tenant_id, webhook_id, next_attempt_at)
  WHERE participant_id IS NULL;
COMMENT ON COLUMN deliveries.participant_id IS
  'Set for ordered destinations alone: of each participant only the first pending one is due.';

CREATE TABLE replays (
  tenant_id    integer NOT NULL,
  id           uuid NOT NULL,
  webhook_id   uuid NOT NULL,
  since        timestamptz NOT NULL,
  until        timestamptz NOT NULL,
  event_types  text[],
  only_missing boolean NOT NULL,
  status       text NOT NULL DEFAULT 'running'
               CHECK (status IN ('running', 'done', 'cancelled')),
  position     uuid,
  seen         bigint NOT NULL DEFAULT 0,
  queued       bigint NOT NULL DEFAULT 0,
  created_at   timestamptz NOT NULL DEFAULT now(),
  finished_at  timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
);
CREATE INDEX replays_running ON replays (tenant_id, id) WHERE status = 'running';
COMMENT ON COLUMN replays.position IS 'The last fact looked at: a new process goes on behind it.';

ALTER TABLE streaks ADD COLUMN at_risk_lead_hours integer
  CHECK (at_risk_lead_hours BETWEEN 1 AND 8784);
COMMENT ON COLUMN streaks.at_risk_lead_hours IS
  'How long before it breaks a streak is told to be at risk; NULL: when its last period begins.';
ALTER TABLE streak_states
  ADD COLUMN is_watched   boolean NOT NULL DEFAULT false,
  ADD COLUMN told_at_risk integer,
  ADD COLUMN told_broken  integer;
COMMENT ON COLUMN streak_states.is_watched IS 'Whether it has a row in streak_deadlines.';
COMMENT ON COLUMN streak_states.told_at_risk IS
  'The period at whose start the streak breaks, of the last behavior.streak_at_risk.';
COMMENT ON COLUMN streak_states.told_broken IS 'Likewise of the last behavior.streak_broken.';

CREATE TABLE streak_deadlines (
  tenant_id      integer NOT NULL,
  participant_id bigint NOT NULL,
  streak_id      integer NOT NULL,
  due_at         timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, participant_id, streak_id),
  FOREIGN KEY (tenant_id, participant_id, streak_id) REFERENCES streak_states ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX streak_deadlines_due ON streak_deadlines (due_at);
COMMENT ON TABLE streak_deadlines IS
  'When to look at a streak again: never later than it can become at risk or break. A tick does not
move it; whoever looks and finds nothing to tell moves it on.';

CREATE TABLE streak_reviews (
  tenant_id integer NOT NULL,
  streak_id integer NOT NULL,
  version   integer NOT NULL DEFAULT 1,
  position  bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, streak_id),
  FOREIGN KEY (tenant_id, streak_id) REFERENCES streaks ON DELETE CASCADE
);
COMMENT ON TABLE streak_reviews IS
  'Definitions whose states are all to be looked at again: those of before this table, and those
whose change may have moved deadlines.';
COMMENT ON COLUMN streak_reviews.position IS 'The last participant looked at.';
INSERT INTO streak_reviews (tenant_id, streak_id) SELECT tenant_id, id FROM streaks;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("Facts and their order would be lost: restore a backup instead.")
