"""`unbroken`: the command line's root."""

from __future__ import annotations

import click

from api.cli.lazy_group import Tour

COMMANDS = {  # name → module and attribute of api.cli
    "up": "local.up:up",
    "demo": "demo.command:demo",
    "migrate": "commands.migrate:migrate",
    "serve": "serve:serve",
    "tenant": "commands.tenants:tenant",
    "key": "commands.keys:key",
    "secrets": "commands.secrets:secrets",
    "listen": "commands.listen:listen",
    "trigger": "commands.trigger:trigger",
    "facts": "commands.facts:facts",
    "audit": "commands.audit:audit",
    "outage": "commands.outages:group",
    "streak": "commands.streaks:group",
    "participant": "commands.streaks:participant",
    "openapi": "commands.openapi:openapi",
    "doctor": "doctor.command:doctor",
    "dead-letters": "commands.dead_letters:group",
    "restored": "commands.after_restore:restored",
    "metrics": "commands.metrics:metrics",
    "trace": "commands.trace:trace",
    "tick": "commands.record:tick",
    "award": "commands.record:award",
    "profile": "commands.profile:profile",
    "import": "importing.command:import_",
    "export": "commands.export:export",
    "loadtest": "loadtest.command:loadtest",
    "completion": "commands.completion:completion",
}


@click.group(
    cls=Tour,
    commands_of=COMMANDS,
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
      unbroken profile user_42                  points, badges, a calendar of each streak
      unbroken import history.csv --dry-run     move here from elsewhere
      unbroken demo --once                      ticks in, verified facts out

    Every command has --help with examples. Commands with output for programs have --json. Exit
    codes: 0 done; 1 refused, not found or only partly done; 2 wrong usage.
    """
