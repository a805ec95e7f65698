"""A receiver in a process of its own: it answers 200, counts, and notes when each fact came."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.receiver import OK, Answer, Receiver, Request

PROJECT_ROOT = Path(__file__).parents[2]
NOTING = "--noting"
_COUNT, _ARRIVALS = "count", "arrivals"
_WHO = re.compile(rb'"participant_id": ?"([^"]+)"')


@dataclass(frozen=True)
class Sink:
    """A receiver that is somebody else's machine, as far as that goes on one."""

    url: str
    questions: IO[str]
    answers: IO[str]

    def count(self) -> int:
        """How many requests have arrived."""
        return int(self._ask(_COUNT))

    def arrivals(self) -> dict[str, int]:
        """When the first fact about each participant came (ns, monotonic); forgets them."""
        found: dict[str, int] = json.loads(self._ask(_ARRIVALS))
        return found

    def _ask(self, question: str) -> str:
        self.questions.write(f"{question}\n")
        self.questions.flush()
        return self.answers.readline()


@contextmanager
def listening(*, is_noting: bool = False) -> Iterator[Sink]:
    """Run a receiver; one that notes arrivals has a little more to do for each."""
    options = [NOTING] if is_noting else []
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.sink", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_ROOT,
    ) as process:
        assert process.stdin and process.stdout
        yield Sink(process.stdout.readline().strip(), process.stdin, process.stdout)


@dataclass
class Notes:
    """When the first fact about each participant came."""

    arrived_ns: dict[str, int]

    def reply(self, request: Request) -> Answer:
        """Note an arrival and take it."""
        if (who := _WHO.search(request.body)) is not None:
            self.arrived_ns.setdefault(who[1].decode(), time.monotonic_ns())
        return OK

    def take(self) -> dict[str, int]:
        """All notes, once."""
        taken, self.arrived_ns = self.arrived_ns, {}
        return taken


def main() -> None:
    """Say where it listens, then what is asked, line by line."""
    notes = Notes({})
    reply = notes.reply if NOTING in sys.argv else None
    with Receiver(reply=reply, is_counting_only=True) as receiver:
        _say(receiver.url)
        for question in sys.stdin:
            is_count = question.strip() == _COUNT
            _say(str(receiver.count) if is_count else json.dumps(notes.take()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
