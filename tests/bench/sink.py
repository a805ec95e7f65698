"""A receiver in a process of its own: it answers 200 and counts, until its stdin is closed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.receiver import Receiver

PROJECT_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sink:
    """A receiver that is somebody else's machine, as far as that goes on one."""

    url: str
    questions: IO[str]
    answers: IO[str]

    def count(self) -> int:
        """How many requests have arrived."""
        self.questions.write("\n")
        self.questions.flush()
        return int(self.answers.readline())


@contextmanager
def listening() -> Iterator[Sink]:
    """Run a receiver."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.sink"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_ROOT,
    ) as process:
        assert process.stdin and process.stdout
        yield Sink(process.stdout.readline().strip(), process.stdin, process.stdout)


def main() -> None:
    """Say where it listens, then how many requests came whenever a line is read."""
    with Receiver(is_counting_only=True) as receiver:
        said = receiver.url
        while True:
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()
            if not sys.stdin.readline():
                return
            said = str(receiver.count)


if __name__ == "__main__":
    main()
