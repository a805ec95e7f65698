"""`unbroken loadtest`: send ticks at a rate, then check every state and fact against them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from api.cli import output
from api.cli.connect.api_client import Where, client
from api.cli.connect.api_session import api_options
from api.cli.errors import CannotRun
from api.cli.loadtest import verify
from api.cli.loadtest.load import LoadPlan, run
from api.cli.options import json_option

_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
SECONDS_MAX, RATE_MAX, CLIENTS_MAX, PARTICIPANTS_MAX = 3_600, 100_000, 64, 100_000


@click.command(short_help="Post ticks, then check every state and fact.")
@click.option("--seconds", type=click.IntRange(1, SECONDS_MAX), default=10, show_default=True)
@click.option(
    "--rate",
    type=click.IntRange(0, RATE_MAX),
    default=0,
    metavar="N",
    help="Requests a second; 0: as fast as the clients can.  [default: 0]",
)
@click.option("--clients", type=click.IntRange(1, CLIENTS_MAX), default=4, show_default=True)
@click.option(
    "--participants", type=click.IntRange(1, PARTICIPANTS_MAX), default=200, show_default=True
)
@click.option("--batch", type=click.IntRange(1, 1_000), default=1, show_default=True,
              help="Ticks in a request.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the participants and the streak afterwards.")
@click.option("--yes-this-is-mine", "is_mine", is_flag=True, help="Allow a URL that is not local.")
@api_options
@json_option
def loadtest(path: Path, as_json: bool, **given: Any) -> None:
    """Post ticks for its own streak and participants, then check that each accepted tick counted.

    Needs an admin key, preferably a test key (bq_test_…), because destinations receive these
    facts. At the end it erases its participants and deactivates its streak. The tenant's cap per
    participant applies; refused ticks are counted. Exits with 1 when a state or a fact is wrong.

    \b
    Example:
      unbroken loadtest --seconds 10
      unbroken loadtest --rate 200 --clients 8 --participants 1000 --json
    """
    where = Where(given["url"], given["key"], path)
    host = urlsplit(where.base()).hostname
    if host not in _HERE and not given["is_mine"]:
        raise CannotRun(
            f"{host} is not this machine: say --yes-this-is-mine if it is yours to load"
        )
    plan = LoadPlan.fresh(*(given[name] for name in ("seconds", "rate", "clients", "participants")),
                      batch=given["batch"])  # fmt: skip
    with client(where) as api:
        made = verify.prepare(api, plan)
        try:
            result = run(api, plan)
            checked = verify.check(api, plan, result, made)
        finally:
            if not given["keep"]:
                verify.clean_up(api, plan)
    figures = result.figures() | checked
    _show(figures, as_json=as_json)
    sys.exit(0 if checked["is_right"] else 1)


def _show(figures: dict[str, Any], *, as_json: bool) -> None:
    rows = [{"figure": name.replace("_", " "), "value": value} for name, value in figures.items()]
    if as_json:
        output.show(figures, "", as_json=True)
    else:
        output.show_rows(rows, ("figure", "value"), as_json=False)
