"""What the command line says when it cannot go on: one line on stderr, and the exit code."""

from __future__ import annotations

import click


class CannotRun(click.ClickException):
    """The command cannot be carried out as it was asked for."""

    exit_code = 2


class NotThere(click.ClickException):
    """What the command names does not exist."""

    exit_code = 1
