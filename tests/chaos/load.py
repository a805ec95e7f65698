"""The load: callers who write, repeat themselves, ask, and send garbage, all at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

from models import clock
from tests.chaos import garbage
from tests.chaos.admin import Admin
from tests.chaos.client import PATHS, Answer, Client, body_of
from tests.chaos.history import History, Kind, Write
from tests.chaos.mender import Mender
from tests.chaos.scene import BADGES, BASE, DEFINITIONS, ZONES, Side
from tests.chaos.sender import Sender, Things
from tests.chaos.stack import Stack
from tests.chaos.trader import Trader
from workers.intake.client import IntakeSettings, open_intake

CALLERS = 4
TRADERS = 4
MENDERS = 2
TICKS_PER_SECOND = 300  # of all callers: what the machine drains easily beside everything else
BATCH_MAX = 40
DAYS = 30  # how far back ticks go
DAY_US = 86_400_000_000
END_SECONDS = 30.0  # when a run has failed: nobody is waited for in vain
MAY_REFUSE = {"participant_inactive", "RATE_LIMIT_PARTICIPANT_EXCEEDED"}


@dataclass
class Caller(Sender):
    """One thread of the load."""

    accepted: list[tuple[Side, Write]] = field(default_factory=list)  # some, to be asked about

    @property
    def history(self) -> History:
        """What this caller did."""
        return self.client.history

    def run(self) -> None:
        """Do one thing after the other until told to stop, at a pace."""
        began = time.monotonic()
        while not self.stop.is_set():
            self.do_something(self.things())
            ahead = self.sent * CALLERS / TICKS_PER_SECOND - (time.monotonic() - began)
            if ahead > 0:
                self.stop.wait(ahead)
            elif ahead < -1.0:  # after a fault nothing is made up for: that would be another load
                began -= ahead

    def things(self) -> Things:
        """What it does."""
        return [
            (self.record_one, 30), (self.record_many, 14), (self.award_one, 5),
            (self.award_many, 2), (self.repeat, 12), (self.read, 10), (self.ask, 8),
            (self.send_garbage, 12), (self.use_retired_key, 2), (self.ask_for_anothers, 2),
            (self.write_for_suspended, 2),
        ]  # fmt: skip

    # -- writing ---------------------------------------------------------------------------------

    def record_one(self, side: Side) -> None:
        """One tick: waited for or not, under a key or not."""
        write = self._tick(side)
        key = {"Idempotency-Key": write.token} if self.random.random() < 0.4 else {}
        prefer = self.random.choice(("respond-async", "respond-async", "wait=2", ""))
        self._post(side, write, **key, **({"Prefer": prefer} if prefer else {}))
        if write.outcome == "maybe" and key and self.random.random() < 0.9:
            self.unsure.append((side, write))
        if write.outcome == "ok" and key and self.random.random() < 0.2:
            self._repeat_known(side, write)

    def award_one(self, side: Side) -> None:
        """One award."""
        prefer = self.random.choice(("respond-async", "wait=2"))
        self._post(side, self._award(side), Prefer=prefer)

    def record_many(self, side: Side) -> None:
        """A batch of ticks, with some that are none."""
        self._post_many(side, [self._tick(side) for _ in range(self.random.randint(1, BATCH_MAX))])

    def award_many(self, side: Side) -> None:
        """A batch of awards, with some that are none."""
        self._post_many(side, [self._award(side) for _ in range(self.random.randint(1, 10))])

    def write_for_suspended(self, side: Side) -> None:
        """A tick of somebody whose writes are refused."""
        write = self._tick(side)
        write.participant = side.suspended
        self._post(side, write)

    def _tick(self, side: Side) -> Write:
        write = self._write("tick", side, self.random.choice(list(DEFINITIONS)))
        back = self.random.choice((0, 0, self.random.randrange(DAYS), self.random.randrange(DAYS)))
        if self.random.random() < 0.9:  # else of the instant at which the API takes it in
            write.occurred_us = clock.now_us() - back * DAY_US - self.random.randrange(DAY_US)
        if self.random.random() < 0.2:
            write.timezone = self.random.choice(ZONES)
        return write

    def _award(self, side: Side) -> Write:
        return self._write("award", side, self.random.choice(BADGES))

    def _write(self, kind: Kind, side: Side, code: str) -> Write:
        self.sent += 1
        people = side.people
        who = people[0] if self.random.random() < 0.1 else self.random.choice(people)
        write = Write(kind, side.id, f"{self.name}-{self.sent}", who, code)
        self.history.writes.append(write)
        return write

    def _post(self, side: Side, write: Write, **headers: str) -> Answer:
        found = self.client.send("POST", PATHS[write.kind], side.writer, body_of(write), **headers)
        if found.status in (200, 202):
            self._accept(side, write, found)
        elif found.is_unknown:
            write.outcome = "ok" if write.outcome == "ok" else "maybe"
        elif found.status > 0:
            self._refuse(write, found.status, found.code, found.text)
        self.history.count(f"{write.kind}", write.outcome)
        return found

    def _accept(self, side: Side, write: Write, found: Answer) -> None:
        write.outcome = "ok"
        given = found.body[f"{write.kind}_id"]
        if write.id not in (None, given):
            self.client.violation(f"{write.token}: repeated, {write.id} became {given}")
        write.id = given
        if found.status == 200:
            write.result = found.body
        if self.random.random() < 0.2:
            self.accepted.append((side, write))

    def _refuse(self, write: Write, status: int, code: str, text: str) -> None:
        if write.outcome == "ok":
            self.client.violation(
                f"{write.token}: accepted, repeated, refused: {status} {text[:300]}"
            )
        elif write.outcome == "fail":  # else an earlier try may yet have been taken
            write.refusal = code
        if code not in MAY_REFUSE:
            self.client.violation(f"a good {write.kind} was refused: {status} {text[:300]}")

    def _post_many(self, side: Side, writes: list[Write]) -> None:
        kind = writes[0].kind
        items: list[Any] = [body_of(one) for one in writes]
        bad = [nth for nth in range(len(items) + 1) if self.random.random() < 0.05]
        for nth in reversed(bad):
            items.insert(nth, self.random.choice(garbage.BAD_ITEMS))
        found = self.client.send("POST", f"{PATHS[kind]}/batch", side.writer, {f"{kind}s": items})
        if found.status == 202:
            self._take_results(side, writes, found.body["results"], len(bad))
        elif found.status > 0 and not found.is_unknown:
            self.client.violation(f"a batch was refused: {found.status} {found.text[:300]}")
        for one in writes:
            if found.is_unknown:
                one.outcome = "maybe"
            self.history.count(f"{kind} in a batch", one.outcome)
        self.history.count("bad item", "fail", len(bad))

    def _take_results(
        self, side: Side, writes: list[Write], results: list[dict[str, Any]], bad: int
    ) -> None:
        """The results are in the order of the items, and the bad ones are bad alone."""
        refused = [one["error"]["code"] for one in results if "error" in one]
        broken = [code for code in refused if code not in MAY_REFUSE]
        if len(results) != len(writes) + bad or len(broken) != bad:
            self.client.violation(f"a batch with {bad} bad items was answered {broken}")
            return
        good = [one for one in results if one.get("error", {}).get("code", "") not in broken]
        for write, one in zip(writes, good, strict=True):
            if "error" in one:
                self._refuse(write, 429, one["error"]["code"], "")
            else:
                self._accept(side, write, Answer(202, one))

    def send_again(self, side: Side, write: Write) -> None:
        """Repeat a request under its key."""
        self._post(side, write, **{"Idempotency-Key": write.token})

    def _repeat_known(self, side: Side, write: Write) -> None:
        """The same key once more: the first result; with another body: a conflict."""
        other = Write("tick", side.id, write.token, write.participant, "monthly", 0)
        key = {"Idempotency-Key": write.token, "Prefer": "respond-async"}
        if self.random.random() < 0.7:
            self._post(side, write, **key)
            return
        other.occurred_us = clock.now_us() - DAY_US
        found = self.client.send("POST", PATHS["tick"], side.writer, body_of(other), **key)
        if found.status > 0 and not found.is_unknown and found.code != "idempotency_conflict":
            self.client.violation(f"another body under {write.token}: {found.status} {found.text}")
        self.history.count("conflict", _word(found))

    # -- reading ---------------------------------------------------------------------------------

    def read(self, side: Side) -> None:
        """Read what a page of the documentation shows."""
        # A client takes `..` out of a path, however it is spelled.
        who = quote(self.random.choice([one for one in side.people if one != ".."]), safe="")
        page = self.random.choice((
            f"/participants/{who}", f"/participants/{who}/streaks", f"/participants/{who}/state",
            f"/participants/{who}/streaks/daily/history", f"/participants/{who}/badges",
        ))  # fmt: skip
        found = self.client.send("GET", BASE + page, side.writer)
        # Nobody knows a participant before the first write for them has been applied.
        if found.status not in (200, 404, 503, 0, -1):
            self.client.violation(f"GET {page}: {found.status} {found.text[:300]}")
        self.history.count("read", _word(found))

    def ask(self, side: Side) -> None:
        """Ask what became of a write that was accepted."""
        if not self.accepted:
            return
        mine, write = self.accepted.pop(self.random.randrange(len(self.accepted)))
        found = self.client.send("GET", f"{BASE}/{write.kind}s/{write.id}", mine.writer)
        if found.status > 0 and not found.is_unknown:
            status = found.body.get("status")
            if found.status != 200 or status not in ("accepted", "applied"):
                self.client.violation(f"{write.kind} {write.id} was accepted: {found.text[:300]}")
        self.history.count("ask", _word(found))

    # -- what must be refused --------------------------------------------------------------------

    def ask_for_anothers(self, side: Side) -> None:
        """Ask with one tenant's key for another's write."""
        if not self.accepted:
            return
        mine, write = self.random.choice(self.accepted)
        if mine.id != side.id:
            self._must_be("stranger", 404, "GET", f"{BASE}/{write.kind}s/{write.id}", side.writer)

    def use_retired_key(self, side: Side) -> None:
        """Write with a key that was revoked before all this began."""
        write = Write("tick", side.id, "retired", side.people[0], "daily", clock.now_us())
        self._must_be("retired key", 401, "POST", PATHS["tick"], side.retired, body_of(write))

    def _must_be(
        self, what: str, status: int, method: str, path: str, key: str, body: Any = None
    ) -> None:
        found = self.client.send(method, path, key, body)
        if found.status > 0 and found.status not in (status, 503):
            self.client.violation(f"{what}: {found.status} {found.text[:300]}")
        self.history.count(what, "refused" if found.status == status else "maybe")

    def send_garbage(self, side: Side) -> None:
        """Send what is no request; every one of them must be told so."""
        one = self.random.choice(garbage.REQUESTS)
        headers = {"X-API-Key": side.admin, "Content-Type": "application/json", **one.headers}
        found = self.client.send_bytes(one.method, one.path, one.body, headers)
        if found.status > 0 and not 400 <= found.status < 500 and found.status != 503:
            self.client.violation(f"garbage {one}: {found.status} {found.text[:200]}")
        self.history.count("garbage", "refused" if 400 <= found.status < 500 else "maybe")


def _word(found: Answer) -> str:
    return "ok" if found.status < 500 and found.status > 0 else "maybe"


# -- all of them -----------------------------------------------------------------------------


@dataclass
class Load:
    """All callers, traders and menders, and the administrator."""

    callers: list[Caller]
    traders: list[Trader]
    menders: list[Mender]
    admin: Admin
    stop: threading.Event
    threads: list[threading.Thread] = field(default_factory=list)

    def is_over(self) -> bool:
        """Whether everybody who was told to stop has done so: a request may take its time."""
        return not any(thread.is_alive() for thread in self.threads)

    def history(self) -> History:
        """What all of them did."""
        whole = History()
        for one in self.everybody():
            whole.absorb(one.client.history)
        return whole

    def everybody(self) -> list[Caller | Trader | Mender | Admin]:
        """Whoever sends."""
        return [*self.callers, *self.traders, *self.menders, self.admin]

    def finish(self) -> None:
        """Repeat what is not sure yet."""
        writers: list[Caller | Trader | Mender] = [*self.callers, *self.traders, *self.menders]
        threads = [threading.Thread(target=one.finish) for one in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@contextmanager
def running(stack: Stack, sides: Sequence[Side], seed: int) -> Iterator[Load]:
    """The load, for as long as the block runs."""
    stop = threading.Event()
    callers = [
        Caller(f"{seed}-{nth}", Client(stack.url, History()), sides, Random(f"{seed}-{nth}"), stop)
        for nth in range(CALLERS)
    ]
    traders = [
        Trader(
            f"{seed}-t{nth}", Client(stack.url, History()), sides, Random(f"{seed} t{nth}"), stop
        )
        for nth in range(TRADERS)
    ]
    menders = [
        Mender(
            f"{seed}-m{nth}", Client(stack.url, History()), sides, Random(f"{seed} m{nth}"), stop
        )
        for nth in range(MENDERS)
    ]
    with closing(open_intake(stack.settings.of(IntakeSettings))) as intake:
        client, random = Client(stack.url, History()), Random(f"{seed} admin")
        admin = Admin(client, sides, random, stop, stack.engine, intake)
        load = Load(callers, traders, menders, admin, stop)
        load.threads += [threading.Thread(target=one.run, daemon=True) for one in load.everybody()]
        for thread in load.threads:
            thread.start()
        try:
            yield load
        finally:
            stop.set()
            for thread in load.threads:
                thread.join(END_SECONDS)
