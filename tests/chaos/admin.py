"""The administrator beside the load: changes definitions and keys; each holds at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from models import clock
from models.db import DatabaseError, Engine, transaction
from models.identity import tenants
from tests.chaos.client import PATHS, Answer, Client, body_of
from tests.chaos.history import Write
from tests.chaos.scene import BASE, DEFINITIONS, SWITCHED, Side
from workers.intake.client import Intake, IntakeError

BETWEEN_SECONDS = (0.2, 1.0)
SURE_SECONDS = 90.0  # until a change must have been answered: longer than any outage
TRY_SECONDS = 0.3
REPLAYED_US = 3_000_000  # so far back: some hundred facts


@dataclass
class Admin:
    """One thread; nobody else changes what it changes, so that it knows what must hold."""

    client: Client
    sides: Sequence[Side]
    random: Random
    stop: threading.Event
    engine: Engine  # for what the operator's commands do, past the links
    intake: Intake
    sent: int = 0
    name: str = field(default="admin")

    def run(self) -> None:
        """Change one thing after the other until told to stop."""
        things: list[Callable[[Side], None]] = [
            self.describe,
            self.switch,
            self.revoke,
            self.replay,
        ]
        while not self.stop.is_set():
            self.random.choice(things)(self.random.choice(self.sides))
            self.stop.wait(self.random.uniform(*BETWEEN_SECONDS))

    def describe(self, side: Side) -> None:
        """Change what nobody's count depends on."""
        code = self.random.choice(list(DEFINITIONS))
        self._change(side, code, {"description": f"as of {clock.now_us()}"})

    def switch(self, side: Side) -> None:
        """Pause a streak: what is sent from then on is refused. Resume it: it is accepted."""
        if not self._change_surely(side, {"is_active": False}):
            return
        for _ in range(2):
            write = self._write(side)
            found = self._post(side, side.writer, write)
            if found.status in (200, 202):
                self.client.violation(f"{write.token} was accepted for a paused streak")
            elif found.status > 0 and not found.is_unknown and found.code != "streak_not_found":
                self.client.violation(f"a paused streak: {found.status} {found.text[:300]}")
            self.client.history.count("paused streak", _word(found))
        if self._change_surely(side, {"is_active": True}):
            self._accepted(side, side.writer)

    def revoke(self, side: Side) -> None:
        """Make a key, write with it, revoke it: what is sent from then on is refused."""
        try:
            with transaction(self.engine) as session:
                key_id, key = tenants.create_key(session, side.tenant, [])
            self._accepted(side, key)
            with self.intake.changing([side.id]), transaction(self.engine) as session:
                tenants.revoke_key(session, side.id, key_id)
        except (DatabaseError, IntakeError):
            return  # a server is away: whether the key is revoked is not known
        write = self._write(side)
        found = self._post(side, key, write)
        if found.status in (200, 202):
            self.client.violation(f"{write.token} was accepted under a revoked key")
        self.client.history.count("revoked key", _word(found))

    def replay(self, side: Side) -> None:
        """Send once more what a destination has had already."""
        destination = self.random.choice(side.destinations)
        wish = {"since": clock.to_text(clock.now_us() - REPLAYED_US), "only_missing": False}
        path = f"{BASE}/admin/webhooks/{destination.id}/replays"
        found = self.client.send("POST", path, side.admin, wish)
        # By a clock that has just jumped back the range lies in the future: 422.
        is_right = found.status in (202, 422) or found.code == "replay_limit_reached"
        if found.status > 0 and not found.is_unknown and not is_right:
            self.client.violation(f"a replay: {found.status} {found.text[:300]}")
        self.client.history.count("replay", "ok" if found.status == 202 else "maybe")

    # -- what they do ----------------------------------------------------------------------------

    def _change(self, side: Side, code: str, body: dict[str, Any]) -> Answer:
        found = self.client.send("PATCH", f"{BASE}/streaks/{code}", side.admin, body)
        if found.status > 0 and found.status != 200 and not found.is_unknown:
            self.client.violation(f"a change of {code}: {found.status} {found.text[:300]}")
        outcome = "ok" if found.status == 200 else "maybe" if found.is_unknown else "fail"
        self.client.history.changes[side.id, outcome] += 1
        self.client.history.count("change of a streak", outcome)
        return found

    def _change_surely(self, side: Side, body: dict[str, Any]) -> bool:
        """Change it until that is answered; False when the run ends before."""
        ends = time.monotonic() + SURE_SECONDS
        while time.monotonic() < ends:
            if self._change(side, SWITCHED, body).status == 200:
                return True
            time.sleep(TRY_SECONDS)
        return False

    def _accepted(self, side: Side, key: str) -> None:
        """A write that must be accepted, unless something is away."""
        write = self._write(side)
        found = self._post(side, key, write)
        if found.status in (200, 202):
            write.outcome, write.id = "ok", found.body["tick_id"]
        elif found.is_unknown:
            write.outcome = "maybe"
        elif found.status > 0 and found.code != "RATE_LIMIT_PARTICIPANT_EXCEEDED":
            self.client.violation(f"a good tick was refused: {found.status} {found.text[:300]}")
        self.client.history.count("tick after a change", write.outcome)

    def _write(self, side: Side) -> Write:
        """One that is not to be applied, unless it is accepted."""
        self.sent += 1
        who = self.random.choice(side.people)
        write = Write("tick", side.id, f"{self.name}-{self.sent}", who, SWITCHED, clock.now_us())
        self.client.history.writes.append(write)
        return write

    def _post(self, side: Side, key: str, write: Write) -> Answer:
        wish = {"Prefer": "respond-async"}
        return self.client.send("POST", PATHS["tick"], key, body_of(write), **wish)


def _word(found: Answer) -> str:
    return "maybe" if found.status < 1 or found.is_unknown else "refused"
