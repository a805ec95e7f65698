"""The pipeline: tenants, keys, streaks, participants, states, ledger, facts, deliveries.

Every key begins with the tenant, so that the database can be distributed on it. The append-only
tables are partitioned by the day in their UUIDv7 keys and carry no foreign keys: they are dropped
by the day, and what they name was locked by the transaction that wrote them.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE tenants (
  id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  slug          text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  mode          text NOT NULL CHECK (mode IN ('live', 'test')),
  is_enabled    boolean NOT NULL DEFAULT true,
  participant_writes_per_minute integer NOT NULL DEFAULT 120
                CHECK (participant_writes_per_minute >= 0),
  tick_secret   bytea NOT NULL CHECK (length(tick_secret) = 16),
  config_version integer NOT NULL DEFAULT 1,
  created_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (slug, mode)
);
COMMENT ON COLUMN tenants.config_version IS
  'Counts up with every change of what a drain reads: it may keep what it read under one version.';
COMMENT ON TABLE tenants IS 'One row per tenant and mode: nothing joins live and test.';

CREATE TABLE api_keys (
  tenant_id     integer NOT NULL REFERENCES tenants,
  id            uuid NOT NULL,
  sha256        bytea NOT NULL CHECK (length(sha256) = 32),
  hint          text NOT NULL,
  scopes        text[] NOT NULL DEFAULT '{}',
  created_at    timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz,
  revoked_at    timestamptz,
  PRIMARY KEY (tenant_id, id)
);
-- The one look-up that cannot know the tenant: it finds out whose key this is.
CREATE UNIQUE INDEX api_keys_sha256 ON api_keys (sha256);

CREATE TABLE streaks (
  tenant_id     integer NOT NULL REFERENCES tenants,
  id            integer GENERATED ALWAYS AS IDENTITY,
  code          text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name          text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description   text,
  period        text NOT NULL CHECK (period IN ('daily', 'weekly', 'monthly')),
  grace_periods integer NOT NULL DEFAULT 0 CHECK (grace_periods BETWEEN 0 AND 366),
  reset_on_miss boolean NOT NULL DEFAULT true,
  is_active     boolean NOT NULL DEFAULT true,
  boundary      text NOT NULL DEFAULT 'utc' CHECK (boundary IN ('utc', 'participant')),
  milestones    json NOT NULL DEFAULT '[]',
  revision      integer NOT NULL DEFAULT 1,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code)
);

CREATE TABLE participants (
  tenant_id     integer NOT NULL REFERENCES tenants,
  id            bigint GENERATED ALWAYS AS IDENTITY,
  external_id   text COLLATE "C" NOT NULL CHECK (char_length(external_id) BETWEEN 1 AND 255),
  timezone      text,
  status        text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')),
  total_events  bigint NOT NULL DEFAULT 0 CHECK (total_events >= 0),
  fact_sequence bigint NOT NULL DEFAULT 0 CHECK (fact_sequence >= 0),
  first_seen_at timestamptz,
  last_seen_at  timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, external_id)
) WITH (fillfactor = 70);  -- counters change in place (HOT)

CREATE TABLE streak_states (
  tenant_id        integer NOT NULL,
  participant_id   bigint NOT NULL,
  streak_id        integer NOT NULL,
  recorded         int4multirange NOT NULL CHECK (NOT isempty(recorded)),
  current_count    integer NOT NULL CHECK (current_count >= 1),
  longest_count    integer NOT NULL CHECK (longest_count >= current_count),
  grace_remaining  integer NOT NULL CHECK (grace_remaining >= 0),
  revision         integer NOT NULL,
  last_recorded_at timestamptz NOT NULL,
  last_timezone    text,
  PRIMARY KEY (tenant_id, participant_id, streak_id),
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, streak_id) REFERENCES streaks
) WITH (fillfactor = 70);
COMMENT ON COLUMN streak_states.recorded IS
  'The set of recorded periods: the state. The counts are its walk under revision.';

CREATE TABLE ticks (
  tenant_id       integer NOT NULL,
  id              uuid NOT NULL,
  participant_id  bigint NOT NULL,
  streak_id       integer NOT NULL,
  period          integer NOT NULL,
  occurred_at     timestamptz NOT NULL,
  outcome         text NOT NULL CHECK (outcome IN
                  ('started', 'extended', 'reset', 'held', 'repeated', 'backfilled')),
  new_count       integer NOT NULL CHECK (new_count >= 1),
  previous_count  integer NOT NULL CHECK (previous_count >= 0),
  longest_count   integer NOT NULL CHECK (longest_count >= new_count),
  is_new_record   boolean NOT NULL,
  grace_remaining integer NOT NULL CHECK (grace_remaining >= 0),
  timezone        text,
  metadata        text,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX ticks_history ON ticks (tenant_id, participant_id, streak_id, period);

CREATE TABLE facts (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  participant_id bigint NOT NULL,
  sequence       bigint NOT NULL CHECK (sequence >= 1),
  type           text NOT NULL,
  occurred_at    timestamptz NOT NULL,
  body           text NOT NULL,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX facts_sequence ON facts (tenant_id, participant_id, sequence);
COMMENT ON COLUMN facts.body IS 'The bytes that are signed and sent.';

CREATE TABLE webhooks (
  tenant_id     integer NOT NULL REFERENCES tenants,
  id            uuid NOT NULL,
  url           text NOT NULL CHECK (char_length(url) BETWEEN 1 AND 2048),
  description   text,
  event_types   text[] NOT NULL CHECK (cardinality(event_types) BETWEEN 1 AND 100),
  is_enabled    boolean NOT NULL DEFAULT true,
  secret        text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
COMMENT ON COLUMN webhooks.secret IS 'Encrypted with the operator''s key ring.';

CREATE TABLE deliveries (
  tenant_id       integer NOT NULL,
  fact_id         uuid NOT NULL,
  webhook_id      uuid NOT NULL,
  status          text NOT NULL DEFAULT 'pending'
                  CHECK (status IN ('pending', 'delivered', 'dead')),
  attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  next_attempt_at timestamptz NOT NULL,
  leased_until    timestamptz,
  claim_id        uuid,
  PRIMARY KEY (tenant_id, fact_id, webhook_id, status)
) PARTITION BY LIST (status);
COMMENT ON TABLE deliveries IS
  'What is pending stands in one small table, whatever its age; settled rows move to their day.';
CREATE TABLE deliveries_pending PARTITION OF deliveries FOR VALUES IN ('pending')
  WITH (fillfactor = 70);  -- a lease changes no indexed column: it is written in place (HOT)
CREATE INDEX deliveries_due ON deliveries_pending (tenant_id, webhook_id, next_attempt_at);
CREATE TABLE deliveries_done PARTITION OF deliveries FOR VALUES IN ('delivered', 'dead')
  PARTITION BY RANGE (fact_id);

CREATE TABLE attempts (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  fact_id        uuid NOT NULL,
  webhook_id     uuid NOT NULL,
  number         integer NOT NULL CHECK (number >= 1),
  status_code    integer,
  error          text,
  duration_ms    integer NOT NULL CHECK (duration_ms >= 0),
  remote_address text,
  response       text,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX attempts_fact ON attempts (tenant_id, fact_id);

CREATE TABLE dead_letters (
  tenant_id   integer NOT NULL,
  id          uuid NOT NULL,
  kind        text NOT NULL,
  message     text NOT NULL,
  error       text NOT NULL,
  tries       integer NOT NULL CHECK (tries >= 1),
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE dead_letters IS 'Tenant 0 holds messages too broken to name one.';

CREATE FUNCTION count_config_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE tenants SET config_version = config_version + 1
  WHERE id = COALESCE(NEW.tenant_id, OLD.tenant_id);
  RETURN NULL;
END $$;
CREATE TRIGGER config_version AFTER INSERT OR DELETE OR UPDATE ON streaks
  FOR EACH ROW EXECUTE FUNCTION count_config_version();
CREATE TRIGGER config_version
  AFTER INSERT OR DELETE OR UPDATE OF event_types, is_enabled ON webhooks
  FOR EACH ROW EXECUTE FUNCTION count_config_version();

CREATE TABLE ticks_default PARTITION OF ticks DEFAULT;
CREATE TABLE facts_default PARTITION OF facts DEFAULT;
CREATE TABLE deliveries_done_default PARTITION OF deliveries_done DEFAULT;
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("The first migration has no way back: drop the database instead.")
