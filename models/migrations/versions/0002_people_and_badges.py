"""Profiles, programs, badges, awards, erasures, and caps on writes per key and tenant."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE tenants ADD COLUMN writes_per_minute integer NOT NULL DEFAULT 0
  CHECK (writes_per_minute >= 0);
ALTER TABLE api_keys ADD COLUMN writes_per_minute integer NOT NULL DEFAULT 0
  CHECK (writes_per_minute >= 0);
COMMENT ON COLUMN tenants.writes_per_minute IS '0: no cap.';
COMMENT ON COLUMN api_keys.writes_per_minute IS '0: no cap.';

ALTER TABLE participants
  ADD COLUMN display_name   text CHECK (char_length(display_name) <= 255),
  ADD COLUMN avatar_url     text CHECK (char_length(avatar_url) <= 500),
  ADD COLUMN attributes     text,
  ADD COLUMN tags           text[] NOT NULL DEFAULT '{}',
  ADD COLUMN updated_at     timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN inactive_since timestamptz,
  ADD COLUMN erased_at      timestamptz;
COMMENT ON COLUMN participants.attributes IS 'JSON as it was sent.';
COMMENT ON COLUMN participants.inactive_since IS
  'Set while status is not ACTIVE: writes accepted from then on are rejected.';
COMMENT ON COLUMN participants.erased_at IS
  'When whoever had this external id before was erased: what was accepted earlier is theirs.';
UPDATE participants SET inactive_since = now() WHERE status <> 'ACTIVE';
ALTER TABLE participants ADD CHECK ((status = 'ACTIVE') = (inactive_since IS NULL));

CREATE TABLE programs (
  tenant_id   integer NOT NULL REFERENCES tenants,
  id          uuid NOT NULL,
  name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description text,
  is_active   boolean NOT NULL DEFAULT true,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
CREATE TABLE participant_programs (
  tenant_id      integer NOT NULL,
  participant_id bigint NOT NULL,
  program_id     uuid NOT NULL,
  enrolled_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, participant_id, program_id),
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, program_id) REFERENCES programs
);

CREATE TABLE badges (
  tenant_id     integer NOT NULL REFERENCES tenants,
  id            uuid NOT NULL,
  code          text NOT NULL CHECK (char_length(code) BETWEEN 1 AND 50),
  name          text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
  description   text,
  icon_url      text,
  badge_color   text CHECK (char_length(badge_color) <= 20),
  rarity        text NOT NULL DEFAULT 'common'
                CHECK (rarity IN ('common', 'uncommon', 'rare', 'epic', 'legendary')),
  category      text CHECK (char_length(category) <= 50),
  is_active     boolean NOT NULL DEFAULT true,
  is_hidden     boolean NOT NULL DEFAULT false,
  display_order integer NOT NULL DEFAULT 0,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, code)
);
CREATE TRIGGER config_version AFTER INSERT OR DELETE OR UPDATE ON badges
  FOR EACH ROW EXECUTE FUNCTION count_config_version();

CREATE TABLE participant_badges (
  tenant_id      integer NOT NULL,
  participant_id bigint NOT NULL,
  badge_id       uuid NOT NULL,
  award_id       uuid NOT NULL,
  earned_at      timestamptz NOT NULL,
  metadata       text,
  PRIMARY KEY (tenant_id, participant_id, badge_id),
  FOREIGN KEY (tenant_id, participant_id) REFERENCES participants ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, badge_id) REFERENCES badges
);
COMMENT ON TABLE participant_badges IS 'Who has which badge: written once, by the first award.';

CREATE TABLE awards (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  participant_id bigint NOT NULL,
  badge_id       uuid NOT NULL,
  earned_at      timestamptz NOT NULL,
  already_earned boolean NOT NULL,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX awards_participant ON awards (tenant_id, participant_id);
CREATE TABLE awards_default PARTITION OF awards DEFAULT;
COMMENT ON TABLE awards IS 'The ledger of awards, as ticks is that of ticks.';

CREATE TABLE rejections (
  tenant_id      integer NOT NULL,
  id             uuid NOT NULL,
  participant_id bigint,
  code           text NOT NULL,
  PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX rejections_participant ON rejections (tenant_id, participant_id);
CREATE TABLE rejections_default PARTITION OF rejections DEFAULT;
COMMENT ON TABLE rejections IS 'Accepted writes that their participant''s status refused.';

CREATE TABLE erasures (
  tenant_id integer NOT NULL REFERENCES tenants,
  digest    bytea NOT NULL,
  erased_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, digest)
);
COMMENT ON TABLE erasures IS
  'Whom a tenant erased, as keyed digests: a write accepted before must not bring them back.';

ALTER TABLE dead_letters ADD COLUMN participant_id text COLLATE "C";
CREATE INDEX dead_letters_participant ON dead_letters (tenant_id, participant_id);
COMMENT ON COLUMN dead_letters.participant_id IS 'The external id, where the message names one.';
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("Profiles and awards would be lost: restore a backup instead.")
