"""Apply the awards of a batch: who has which badge, ledger, facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models import awards
from models.awards import Award, Earned, Key
from models.badges import Badge
from models.db import Session
from webhooks import facts
from workers.batch import Batch, UnknownDefinition
from workers.messages import AwardV1


@dataclass
class Awards:
    """The awards of a batch, decided in values between one read and one write."""

    earned: dict[Key, Earned] = field(default_factory=dict)
    fresh: dict[Key, Earned] = field(default_factory=dict)
    ledger: list[Award] = field(default_factory=list)  # in the order of the messages

    def read(self, session: Session, batch: Batch, messages: Sequence[AwardV1]) -> None:
        """Read who has the badges already, under their participants' locks."""
        for message in messages:
            _badge(batch, message)
        keys = sorted({(m.tenant_id, batch.person(m).id, m.badge_id) for m in messages})
        self.earned = awards.earned(session, keys)

    def apply(self, batch: Batch, message: AwardV1) -> None:
        """Award one badge; whoever has it keeps the first award for ever (seed 001)."""
        badge, person = _badge(batch, message), batch.person(message)
        key = (message.tenant_id, person.id, message.badge_id)
        earned = self.earned.get(key)
        award = Award(
            tenant_id=message.tenant_id,
            id=message.id,
            participant_id=person.id,
            badge_id=message.badge_id,
            earned_us=message.earned_us if earned is None else earned.earned_us,
            already_earned=earned is not None,
        )
        self.ledger.append(award)
        if earned is None:
            earned = Earned(message.id, message.earned_us, message.metadata)
            self.earned[key] = self.fresh[key] = earned
            stamp = batch.stamp(message, batch.configuration(message).tenant, person)
            batch.facts.append(facts.badge_awarded(stamp, badge, earned))
        if message.is_awaited:
            batch.answers[message.id] = awards.named(award, message.participant_id, badge).answer()

    def write(self, session: Session) -> None:
        """Write who has earned what, and the ledger; raises IntegrityError when an award is in it
        already."""
        if self.ledger:
            awards.write_earned(session, self.fresh)
            awards.append(session, self.ledger)


def _badge(batch: Batch, message: AwardV1) -> Badge:
    found = batch.configuration(message).badges.get(message.badge_id)
    if found is None:
        raise UnknownDefinition(f"tenant {message.tenant_id}, badge {message.badge_id}")
    return found
