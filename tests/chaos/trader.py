"""The traders beside the load: points, claims and tiers of the same people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.chaos.client import Answer
from tests.chaos.history import Kind, Write
from tests.chaos.scene import BASE, REWARDS, TIERS, Side
from tests.chaos.sender import Sender, Things

BETWEEN_SECONDS = (0.0, 0.08)
# Balances stay near zero: about half of the deductions find too little, and may find enough later.
AWARD_MAX, DEDUCTION_MAX = 60, 120
ID_FIELDS: dict[Kind, str] = {
    "points": "transaction_id", "claim": "claim_id", "assignment": "assignment_id",
}  # fmt: skip
REFUSED = {"insufficient_points", "reward_out_of_stock", "reward_limit_reached"}  # by the worker
LIMITED = "RATE_LIMIT_PARTICIPANT_EXCEEDED"


@dataclass
class Trader(Sender):
    """One thread of them."""

    def run(self) -> None:
        """Do one thing after the other until told to stop."""
        while not self.stop.is_set():
            self.do_something(self.things())
            self.stop.wait(self.random.uniform(*BETWEEN_SECONDS))

    def things(self) -> Things:
        """What it does."""
        return [
            (self.award, 8), (self.deduct, 10), (self.claim, 6), (self.assign, 2), (self.repeat, 4),
        ]  # fmt: skip

    def award(self, side: Side) -> None:
        """Award points."""
        self._do(side, "points", "award", self.random.randint(1, AWARD_MAX))

    def deduct(self, side: Side) -> None:
        """Deduct points, if there are enough."""
        self._do(side, "points", "deduct", -self.random.randint(1, DEDUCTION_MAX))

    def claim(self, side: Side) -> None:
        """Claim a reward, if there is one left."""
        self._do(side, "claim", self.random.choice(list(REWARDS)))

    def assign(self, side: Side) -> None:
        """Assign a tier, higher or lower."""
        self._do(side, "assignment", self.random.choice(list(TIERS)))

    # -- how -------------------------------------------------------------------------------------

    def _do(self, side: Side, kind: Kind, code: str, amount: int = 0) -> None:
        """One write: waited for or not, under a key or not."""
        self.sent += 1
        who = self.random.choice(side.people)
        write = Write(kind, side.id, f"{self.name}-{self.sent}", who, code, amount=amount)
        self.client.history.writes.append(write)
        key = {"Idempotency-Key": write.token} if self.random.random() < 0.5 else {}
        prefer = self.random.choice(("respond-async", "respond-async", "respond-async", "wait=2"))
        self._post(side, write, Prefer=prefer, **key)
        if key and write.outcome == "maybe":
            self.unsure.append((side, write))
        if key and write.outcome != "maybe" and self.random.random() < 0.2:
            self._post(side, write, Prefer="wait=2", **key)

    def send_again(self, side: Side, write: Write) -> None:
        """Repeat a request under its key."""
        self._post(side, write, Prefer="wait=2", **{"Idempotency-Key": write.token})

    def _post(self, side: Side, write: Write, **headers: str) -> None:
        path, body = _request(side, write)
        found = self.client.send("POST", path, side.writer, body, **headers)
        if found.status in (200, 202):
            self._accept(write, found)
        elif found.is_unknown:
            write.outcome = "ok" if write.outcome == "ok" else "maybe"
        elif found.status > 0:
            self._refuse(write, found)
        self.client.history.count(write.kind, write.refusal or write.outcome)

    def _accept(self, write: Write, found: Answer) -> None:
        given = found.body[ID_FIELDS[write.kind]]
        was_refused = write.refusal in REFUSED
        if write.id not in (None, given) or (was_refused and found.status == 200):
            about = f"{write.id} ({write.refusal}) became {given}"
            self.client.violation(f"{write.token}: repeated, {about}")
        write.outcome, write.id = "ok", given
        write.refusal = write.refusal if was_refused else None
        if found.status == 200:
            write.result = found.body

    def _refuse(self, write: Write, found: Answer) -> None:
        """What a worker has refused once is refused for good; over a cap it was never taken."""
        if found.code in REFUSED:
            if write.result is not None:
                self.client.violation(f"{write.token}: applied, repeated, refused: {found.text}")
            write.outcome = "ok" if write.id else "fail"
            write.refusal = found.code
        elif found.code == LIMITED and write.outcome == "fail":
            write.refusal = write.refusal or LIMITED
        elif found.code != LIMITED or write.outcome == "ok":
            self.client.violation(f"a good {write.kind} was refused: {found.status} {found.text}")


def _request(side: Side, write: Write) -> tuple[str, dict[str, Any]]:
    """The path and body of a write."""
    body: dict[str, Any] = {
        "participant_id": write.participant, "metadata": {"chaos": write.token},
    }  # fmt: skip
    if write.kind == "points":
        return f"{BASE}/points/{write.code}", body | {"amount": abs(write.amount)}
    if write.kind == "claim":
        return f"{BASE}/rewards/{side.rewards[write.code]}/claim", body
    return f"{BASE}/tiers/assign", body | {"tier_code": write.code}
