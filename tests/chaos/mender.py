"""The menders beside the load: ticks, and what may be done to a streak beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models import clock
from tests.chaos.client import PATHS, Answer, body_of
from tests.chaos.history import Write
from tests.chaos.scene import BASE, HURT, MENDED, Side
from tests.chaos.sender import Sender, Things

BETWEEN_SECONDS = (0.0, 0.08)
DAYS = 30  # how far back ticks and changes go
DAY_US = 86_400_000_000
POINTS = 100_000  # more than freezes can cost in any run
REFUSED = {  # by the worker
    "already_retracted", "nothing_to_restore", "participant_not_found", "pause_overlaps",
    "period_in_future", "period_not_recorded", "streak_not_started",
}  # fmt: skip
NOT_TAKEN = {"RATE_LIMIT_PARTICIPANT_EXCEEDED", "tick_not_applied", "tick_not_found"}


@dataclass
class Mender(Sender):
    """One thread of them."""

    requests: dict[str, tuple[str, str, Any]] = field(default_factory=dict)  # by token
    ticks: list[tuple[Side, Write]] = field(default_factory=list)  # accepted

    def run(self) -> None:
        """Do one thing after the other until told to stop."""
        for side in self.sides:
            for who in HURT:
                self._give_points(side, who)
        while not self.stop.is_set():
            self.do_something(self.things())
            self.stop.wait(self.random.uniform(*BETWEEN_SECONDS))

    def things(self) -> Things:
        """What it does."""
        return [
            (self.record, 12), (self.pause, 3), (self.repair, 4), (self.restore, 3),
            (self.retract_period, 3), (self.retract_tick, 2), (self.grant, 3), (self.buy, 3),
            (self.merge, 2), (self.repeat, 6),
        ]  # fmt: skip

    # -- what is done ----------------------------------------------------------------------------

    def record(self, side: Side) -> None:
        """A tick of some day."""
        self._record(side, self._write(side, "tick"))

    def _record(self, side: Side, write: Write) -> None:
        write.occurred_us = clock.now_us() - self.random.randrange(DAYS * DAY_US)
        self._post(side, write, "POST", PATHS["tick"], body_of(write))
        if write.outcome == "ok":
            self.ticks.append((side, write))

    def pause(self, side: Side) -> None:
        """A pause of some days, which another may overlap."""
        write, first = self._write(side, "change"), self.random.randrange(DAYS)
        body = {"from": _day(first), "to": _day(first - self.random.randrange(3))}
        self._post(side, write, "POST", f"{_person(write)}/pauses", self._because(write, body))

    def repair(self, side: Side) -> None:
        """Some days protected, or recorded."""
        write, first = self._write(side, "change"), self.random.randrange(DAYS)
        body = {
            "from": _day(first),
            "to": _day(max(0, first - self.random.randrange(3))),
            "as": self.random.choice(("protected", "recorded")),
        }
        self._post(side, write, "POST", f"{_streak(write)}/repair", self._because(write, body))

    def restore(self, side: Side) -> None:
        """The last break, if there is one."""
        write = self._write(side, "change")
        self._post(side, write, "POST", f"{_streak(write)}/restore", self._because(write, {}))

    def retract_period(self, side: Side) -> None:
        """Some day, if it is recorded."""
        write = self._write(side, "change")
        path = f"{_streak(write)}/periods/{_day(self.random.randrange(DAYS))}"
        self._post(side, write, "DELETE", f"{path}?reason={write.token}", None)

    def retract_tick(self, side: Side) -> None:
        """A tick that was accepted, perhaps for the second time."""
        mine = [tick for at, tick in self.ticks if at is side]
        if mine:
            tick, write = self.random.choice(mine), self._write(side, "change")
            write.participant = tick.participant
            path = f"{BASE}/ticks/{tick.id}?reason={write.token}"
            self._post(side, write, "DELETE", path, None)

    def merge(self, side: Side) -> None:
        """A guest who ticks becomes one of the others, and ticks once more."""
        guest = f"guest_{self.name}_{self.sent}"
        self._record(side, self._write(side, "tick", guest))
        write = self._write(side, "change")
        body = self._because(write, {"from": guest})
        self._post(side, write, "POST", f"{_person(write)}/merge", body)
        self._record(side, self._write(side, "tick", guest))

    def grant(self, side: Side) -> None:
        """Freezes for nothing."""
        self._freezes(side, "grant")

    def buy(self, side: Side) -> None:
        """Freezes for points."""
        self._freezes(side, "buy")

    def _freezes(self, side: Side, how: str) -> None:
        write = self._write(side, "change")
        body = self._because(write, {"amount": self.random.randint(1, 2)})
        self._post(side, write, "POST", f"{_streak(write)}/freezes/{how}", body)

    def _give_points(self, side: Side, who: str) -> None:
        write = self._write(side, "points", who)
        write.code, write.amount = "award", POINTS
        body = {"participant_id": who, "amount": POINTS, "metadata": {"chaos": write.token}}
        self._post(side, write, "POST", f"{BASE}/points/award", body)

    # -- how -------------------------------------------------------------------------------------

    def _write(self, side: Side, kind: Any, who: str | None = None) -> Write:
        self.sent += 1
        who = who or self.random.choice(HURT)
        write = Write(kind, side.id, f"{self.name}-{self.sent}", who, MENDED)
        self.client.history.writes.append(write)
        return write

    def _because(self, write: Write, body: dict[str, Any]) -> dict[str, Any]:
        return body | {"reason": write.token}

    def _post(self, side: Side, write: Write, method: str, path: str, body: Any) -> None:
        self.requests[write.token] = (method, path, body)
        self._send(side, write, self.random.choice(("respond-async", "respond-async", "wait=2")))
        if write.outcome == "maybe":
            self.unsure.append((side, write))

    def send_again(self, side: Side, write: Write) -> None:
        """Repeat a request under its key."""
        self._send(side, write, "wait=2")

    def _send(self, side: Side, write: Write, prefer: str) -> None:
        method, path, body = self.requests[write.token]
        key = {"Idempotency-Key": write.token, "Prefer": prefer}
        found = self.client.send(method, path, side.admin, body, **key)
        if found.status in (200, 202):
            self._accept(write, found)
        elif found.is_unknown:
            write.outcome = "ok" if write.outcome == "ok" else "maybe"
        elif found.status > 0:
            self._refuse(write, found)
        self.client.history.count(write.kind, write.refusal or write.outcome)

    def _accept(self, write: Write, found: Answer) -> None:
        fields = {"tick": "tick_id", "points": "transaction_id"}
        given = found.body[fields.get(write.kind, "streak_change_id")]
        if write.id not in (None, given):
            self.client.violation(f"{write.token}: repeated, {write.id} became {given}")
        write.outcome, write.id = "ok", given

    def _refuse(self, write: Write, found: Answer) -> None:
        """What a worker has refused is refused for good; otherwise it was never taken."""
        if found.code in REFUSED:
            write.outcome, write.refusal = "fail", found.code
        elif found.code in NOT_TAKEN and write.outcome == "fail":
            write.refusal = found.code
        elif found.code not in NOT_TAKEN or write.outcome == "ok":
            self.client.violation(f"a good {write.kind} was refused: {found.status} {found.text}")


def _person(write: Write) -> str:
    return f"{BASE}/participants/{write.participant}"


def _streak(write: Write) -> str:
    return f"{_person(write)}/streaks/{MENDED}"


def _day(ago: int) -> str:
    """A day in UTC; below zero: ahead."""
    return (datetime.now(UTC).date() - timedelta(days=ago)).isoformat()
