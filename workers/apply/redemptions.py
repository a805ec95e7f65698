"""Apply the redemptions of a batch: stock, limits, costs, ledger, facts.

Never oversold, never charged twice: the participant's row is locked first, then the rewards'
stocks, in key order. A refused redemption is a rejection, and takes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.db import Connection
from models.definitions import rewards
from models.definitions.rewards import Reward, Stock, StockKey
from models.ledgers import redemptions
from models.ledgers.redemptions import Redemption, RedemptionKey
from webhooks import facts
from workers.apply.batch import Batch, UnknownDefinition
from workers.apply.points import INSUFFICIENT, BatchPoints, Movement, too_few
from workers.intake.messages import RedemptionV1

OUT_OF_STOCK = "reward_out_of_stock"
LIMIT_REACHED = "reward_limit_reached"


@dataclass
class Redemptions:
    """The redemptions of a batch, decided in memory between one read and one write."""

    points: BatchPoints
    stocks: dict[StockKey, Stock] = field(default_factory=dict)
    counts: dict[RedemptionKey, int] = field(default_factory=dict)
    ledger: list[Redemption] = field(default_factory=list)  # in the order of the messages

    def read(self, connection: Connection, batch: Batch, messages: Sequence[RedemptionV1]) -> None:
        """Lock the stocks in question; count each participant's redemptions under their locks."""
        if messages:
            self.stocks = rewards.lock_stocks(
                connection, {(m.tenant_id, m.reward_id) for m in messages}
            )
            self.counts = redemptions.counts(connection, {_key(batch, m) for m in messages})

    def apply(self, batch: Batch, message: RedemptionV1) -> None:
        """Give out one reward, or reject the redemption."""
        reward = _reward(batch, message)
        refusal = self._refusal(batch, message, reward)
        if refusal is not None:
            batch.reject(message, *refusal)
            return
        redemption = self._redeem(batch, message, reward)
        if message.is_awaited:
            named = redemptions.named(redemption, message.participant_id, reward)
            batch.answers[message.id] = named.answer()

    def _refusal(
        self, batch: Batch, message: RedemptionV1, reward: Reward
    ) -> tuple[str, str] | None:
        """The code and detail of a refusal."""
        most, balance = reward.max_claims_per_user, batch.participant(message).balance
        if most is not None and self.counts.get(_key(batch, message), 0) >= most:
            return LIMIT_REACHED, f"Reward '{reward.code}' can be claimed {most} times by each"
        if not self.stocks[message.tenant_id, message.reward_id].is_left:
            return OUT_OF_STOCK, f"Reward '{reward.code}' is out of stock"
        if reward.points_cost > balance:
            return INSUFFICIENT, too_few(balance, reward.points_cost)
        return None

    def _redeem(self, batch: Batch, message: RedemptionV1, reward: Reward) -> Redemption:
        participant, key = batch.participant(message), _key(batch, message)
        if reward.points_cost:
            cost = Movement(message.id, "claim", reward.points_cost, source=reward.code)
            self.points.take(batch, message, cost)
        self.stocks[message.tenant_id, message.reward_id].claimed += 1
        self.counts[key] = self.counts.get(key, 0) + 1
        participant.rewards_claimed += 1
        participant.is_richer = participant.is_changed = True
        redemption = Redemption(
            tenant_id=message.tenant_id,
            id=message.id,
            participant_id=participant.id,
            reward_id=message.reward_id,
            points_deducted=reward.points_cost,
            balance_after=participant.balance,
            metadata=message.metadata,
        )
        self.ledger.append(redemption)
        batch.publish(message, facts.reward_redeemed(batch.stamp_of(message), reward, redemption))
        return redemption

    def write(self, connection: Connection) -> None:
        """Write stocks and ledger; raises UniqueViolation when it already holds a redemption."""
        if self.ledger:
            given = {(redemption.tenant_id, redemption.reward_id) for redemption in self.ledger}
            rewards.write_stocks(connection, {key: self.stocks[key] for key in sorted(given)})
            redemptions.append(connection, self.ledger)


def _key(batch: Batch, message: RedemptionV1) -> RedemptionKey:
    return message.tenant_id, batch.participant(message).id, message.reward_id


def _reward(batch: Batch, message: RedemptionV1) -> Reward:
    found = batch.configuration(message).rewards.get(message.reward_id)
    if found is None:
        raise UnknownDefinition(f"tenant {message.tenant_id}, reward {message.reward_id}")
    return found
