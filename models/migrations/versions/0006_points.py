"""Points, tiers, rewards, challenges: definitions, ledgers, and what each participant has."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
ALTER TABLE participants
  ADD COLUMN points_earned   bigint NOT NULL DEFAULT 0,
  ADD COLUMN points_spent    bigint NOT NULL DEFAULT 0,
  ADD COLUMN rewards_claimed integer NOT NULL DEFAULT 0 CHECK (rewards_claimed >= 0),
  ADD COLUMN tier_id         uuid,
  ADD COLUMN tier_achieved_at timestamptz,
  ADD CONSTRAINT participants_balance CHECK (points_spent BETWEEN 0 AND points_earned);
COMMENT ON COLUMN participants.points_earned IS
  'What point_transactions credits to available, summed; the balance is this minus points_spent.';
COMMENT ON COLUMN participants.tier_id IS 'The tier of the latest row of tier_changes.';

ALTER TABLE rejections ADD COLUMN detail text;
COMMENT ON COLUMN rejections.detail IS 'What the caller is told beyond the code, if anything.';

CREATE TABLE point_transactions (
  tenant_id        integer NOT NULL,
  id               uuid NOT NULL,
  participant_id   bigint NOT NULL,
  kind             text NOT NULL
                   CHECK (kind IN ('award', 'deduct', 'claim', 'milestone', 'challenge')),
  debit            text NOT NULL CHECK (debit IN ('issued', 'available')),
  credit           text NOT NULL CHECK (credit IN ('available', 'deducted', 'redeemed')),
  amount           bigint NOT NULL CHECK (amount > 0),
  balance_after    bigint NOT NULL CHECK (balance_after >= 0),
  tier_id          uuid,
  previous_tier_id uuid,
  source           text,
  reason           text,
  metadata         text,
  PRIMARY KEY (tenant_id, id),
  CHECK ((debit = 'available') <> (credit = 'available'))
);
CREATE INDEX point_transactions_participant ON point_transactions (tenant_id, participant_id, id);
COMMENT ON TABLE point_transactions IS
  'The ledger of points: one row a movement, from one account to another; appended to, never
changed, never dropped by retention. A balance is the sum of its rows.';
COMMENT ON COLUMN point_transactions.id IS 'UUIDv7: when it was accepted.';
COMMENT ON COLUMN point_transactions.tier_id IS 'The tier that these points led to; NULL: none.';
COMMENT ON COLUMN point_transactions.source IS
  'What caused it: the streak of a milestone, the code of a challenge or reward; NULL: a caller.';

CREATE TABLE tiers (
  tenant_id   integer NOT NULL REFERENCES tenants,
  id          uuid NOT NULL,
  code        text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text,
  level       integer NOT NULL CHECK (level BETWEEN 0 AND 1000000),
  color       text CHECK (char_length(color) <= 20),
  min_points  bigint CHECK (min_points >= 0),
  award_type  text NOT NULL DEFAULT 'automatic' CHECK (award_type IN ('automatic', 'manual')),
  is_active   boolean NOT NULL DEFAULT true,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code),
  CHECK (award_type = 'manual' OR min_points IS NOT NULL)
);
CREATE UNIQUE INDEX tiers_level ON tiers (tenant_id, level) WHERE is_active;
COMMENT ON COLUMN tiers.min_points IS
  'Of an automatic tier: the points ever earned that lead to it.';
CREATE TRIGGER config_version AFTER INSERT OR DELETE OR UPDATE ON tiers
  FOR EACH ROW EXECUTE FUNCTION count_config_version();

CREATE TABLE tier_changes (
  tenant_id        integer NOT NULL,
  id               uuid NOT NULL,
  participant_id   bigint NOT NULL,
  tier_id          uuid NOT NULL,
  previous_tier_id uuid,
  source           text NOT NULL CHECK (source IN ('points', 'assigned')),
  reason           text,
  metadata         text,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX tier_changes_participant ON tier_changes (tenant_id, participant_id, id);
COMMENT ON TABLE tier_changes IS
  'Who came into which tier and when (the UUIDv7 id). An assignment of the tier that somebody is in
already changes nothing and is kept all the same: its two tiers are one.';

CREATE TABLE rewards (
  tenant_id   integer NOT NULL REFERENCES tenants,
  id          uuid NOT NULL,
  code        text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text,
  image_url   text,
  type        text NOT NULL DEFAULT 'digital' CHECK (char_length(type) BETWEEN 1 AND 50),
  points_cost bigint NOT NULL DEFAULT 0 CHECK (points_cost BETWEEN 0 AND 1000000000),
  max_claims_per_user integer CHECK (max_claims_per_user >= 1),
  starts_at   timestamptz,
  ends_at     timestamptz,
  is_active   boolean NOT NULL DEFAULT true,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code),
  CHECK (ends_at > starts_at)
);
CREATE TRIGGER config_version AFTER INSERT OR DELETE OR UPDATE ON rewards
  FOR EACH ROW EXECUTE FUNCTION count_config_version();

CREATE TABLE reward_stock (
  tenant_id integer NOT NULL,
  reward_id uuid NOT NULL,
  stock     bigint CHECK (stock >= 0),
  claimed   bigint NOT NULL DEFAULT 0 CHECK (claimed >= 0),
  PRIMARY KEY (tenant_id, reward_id),
  FOREIGN KEY (tenant_id, reward_id) REFERENCES rewards ON DELETE CASCADE,
  CONSTRAINT reward_stock_never_oversold CHECK (claimed <= stock)
) WITH (fillfactor = 50);
COMMENT ON TABLE reward_stock IS
  'How many of a reward there are in all (NULL: no end) and how many are gone. Apart from the
definition: a claim changes it, and must not make everybody read the definitions afresh.';

CREATE TABLE reward_claims (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  participant_id bigint NOT NULL,
  reward_id      uuid NOT NULL,
  points_deducted bigint NOT NULL CHECK (points_deducted >= 0),
  balance_after  bigint NOT NULL CHECK (balance_after >= 0),
  metadata       text,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX reward_claims_participant
  ON reward_claims (tenant_id, participant_id, reward_id, id);
COMMENT ON TABLE reward_claims IS
  'The ledger of claims. What it cost is the row of point_transactions with the same id.';

CREATE TABLE challenges (
  tenant_id   integer NOT NULL REFERENCES tenants,
  id          uuid NOT NULL,
  code        text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text,
  objective   json NOT NULL,
  target      bigint NOT NULL CHECK (target BETWEEN 1 AND 1000000000),
  points      integer CHECK (points BETWEEN 1 AND 1000000),
  badge_code  text CHECK (char_length(badge_code) BETWEEN 1 AND 50),
  starts_at   timestamptz,
  ends_at     timestamptz,
  is_active   boolean NOT NULL DEFAULT true,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code),
  CHECK (ends_at > starts_at)
);
COMMENT ON COLUMN challenges.objective IS
  'What counts: {"type": "ticks" | "count", "streak_code"} | {"type": "badges", "badge_codes"?} |
{"type": "points"}.';
COMMENT ON COLUMN challenges.points IS 'What completing it gives, beside badge_code.';
CREATE TRIGGER config_version AFTER INSERT OR DELETE OR UPDATE ON challenges
  FOR EACH ROW EXECUTE FUNCTION count_config_version();

CREATE TABLE challenge_progress (
  tenant_id      integer NOT NULL,
  participant_id bigint NOT NULL,
  challenge_id   uuid NOT NULL,
  progress       bigint NOT NULL CHECK (progress >= 1),
  completed_at   timestamptz,
  updated_at     timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, participant_id, challenge_id),
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, challenge_id) REFERENCES challenges
) WITH (fillfactor = 70);
COMMENT ON TABLE challenge_progress IS
  'How far each participant is; no row before the first step. Completed once, then left alone.';
"""

POLICIES = """
DO $$
DECLARE
  guarded text;
BEGIN
  FOREACH guarded IN ARRAY ARRAY['point_transactions', 'tiers', 'tier_changes', 'rewards',
    'reward_stock', 'reward_claims', 'challenges', 'challenge_progress']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format(
      'CREATE POLICY tenant ON %I USING '
      '(tenant_id = current_setting(''unbroken.tenant_id'', true)::integer)', guarded);
  END LOOP;
END $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(POLICIES)


def downgrade() -> None:
    raise RuntimeError("Points would be lost: restore a backup instead.")
