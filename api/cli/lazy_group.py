"""The root's commands: imported when called, and listed in sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Start", ("up", "demo", "tenant", "key")),
    ("Use", ("tick", "award", "streak", "outage", "import", "export", "listen", "trigger")),
    ("Look", ("profile", "facts", "audit", "metrics", "trace", "openapi")),
)
REST = "Operate"


class Tour(click.Group):
    """A group whose help has sections and whose commands are imported on first use: their
    dependencies (Flask, SQLAlchemy, Alembic) take a second to import."""

    def __init__(self, *args: Any, commands_of: Mapping[str, str], **values: Any) -> None:
        """`commands_of`: name → module of this package and attribute, as in `tenants:tenant`."""
        super().__init__(*args, **values)
        self._commands = commands_of

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name."""
        return sorted(self._commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported now; None if it does not exist."""
        if cmd_name not in self._commands:
            return None
        module, _, attribute = self._commands[cmd_name].partition(":")
        found: click.Command = getattr(import_module(f"api.cli.{module}"), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section; the last section has the operators' commands."""
        for title, names in self._sections(ctx):
            rows = [(name, self._about(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)

    def _sections(self, ctx: click.Context) -> Iterator[tuple[str, list[str]]]:
        known = self.list_commands(ctx)
        listed = {name for _, names in SECTIONS for name in names}
        for title, names in SECTIONS:
            yield title, [name for name in names if name in known]
        yield REST, [name for name in known if name not in listed]

    def _about(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str(80) if command else ""
