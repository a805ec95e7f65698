"""`python -m tests.chaos --seed N --minutes M`: one run; exits with 1 when something is found."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from types import FrameType

import click

from api.cli.local.supervisor import say
from tests.chaos.run import Plan, StuckError, run

SEED_MAX = 2**31
END_SECONDS = 900  # beside the run itself: starting, healing and waiting are bounded, and shorter


def main() -> int:
    """Run, print, say by the exit code whether it was clean."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="a fresh one is taken and printed")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the data folder with its logs")
    given = parser.parse_args()
    seed = secrets.randbelow(SEED_MAX) if given.seed is None else given.seed
    say(f"seed {seed}, {given.minutes:g} minutes")
    signal.signal(signal.SIGALRM, _stuck)
    signal.alarm(round(given.minutes * 60) + END_SECONDS)
    report = run(Plan(seed, given.minutes * 60, keep=given.keep))
    click.echo(report.as_json() if given.json else report.as_table())
    return 0 if report.is_clean else 1


def _stuck(number: int, frame: FrameType | None) -> None:
    raise StuckError("the run does not come to an end")


if __name__ == "__main__":
    sys.exit(main())
