"""`unbroken`: the command line's root."""

from __future__ import annotations

import click

from api.cli.audit import audit
from api.cli.completion import completion
from api.cli.dead_letters import group as dead_letters
from api.cli.demo import demo
from api.cli.doctor import doctor
from api.cli.exporting import export
from api.cli.facts import facts
from api.cli.importing import import_
from api.cli.keys import key
from api.cli.listen import listen
from api.cli.loadtest import loadtest
from api.cli.metrics import metrics
from api.cli.migrate import migrate
from api.cli.openapi import openapi
from api.cli.profile import profile
from api.cli.restored import restored
from api.cli.secrets import secrets
from api.cli.tenants import tenant
from api.cli.tour import Tour
from api.cli.trace import trace
from api.cli.trigger import trigger
from api.cli.up import up
from api.cli.write import award, tick


@click.group(
    cls=Tour,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="unbroken")
def main() -> None:
    """Unbroken: streaks, badges and points, on your own machine.

    \b
    Example:
      unbroken up                               everything, on this machine
      unbroken tenant create acme               in another terminal: your keys
      export UNBROKEN_KEY=bq_live_…             for the commands that use the API
      unbroken tick user_42 daily_login         one tick, and what it did
      unbroken profile user_42                  who is that, with a calendar
      unbroken import history.csv --dry-run     move here from elsewhere
      unbroken demo --once                      a look at what it does

    Every command has --help with examples, and --json for programs. Exit codes: 0 done, 1 refused
    or not all of it done, 2 cannot be run as asked.
    """


for command in (
    up,
    demo,
    migrate,
    tenant,
    key,
    secrets,
    listen,
    trigger,
    facts,
    audit,
    openapi,
    doctor,
    dead_letters,
    restored,
    metrics,
    trace,
    tick,
    award,
    profile,
    import_,
    export,
    loadtest,
    completion,
):
    main.add_command(command)
