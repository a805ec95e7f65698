"""`unbroken`: the command line's root."""

from __future__ import annotations

import click

from api.cli.audit import audit
from api.cli.dead_letters import group as dead_letters
from api.cli.demo import demo
from api.cli.doctor import doctor
from api.cli.facts import facts
from api.cli.keys import key
from api.cli.listen import listen
from api.cli.metrics import metrics
from api.cli.migrate import migrate
from api.cli.openapi import openapi
from api.cli.restored import restored
from api.cli.secrets import secrets
from api.cli.tenants import tenant
from api.cli.trace import trace
from api.cli.trigger import trigger
from api.cli.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="unbroken")
def main() -> None:
    """Unbroken: streaks, badges and points, on your own machine.

    \b
    Example:
      unbroken up                       everything, on this machine
      unbroken tenant create acme       in another terminal: your keys
      unbroken demo --once              a look at what it does
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
):
    main.add_command(command)
