"""Errors of the command line: one line on stderr and an exit code."""

from __future__ import annotations

import click


class CannotRun(click.ClickException):
    """The command cannot be run as given."""

    exit_code = 2


class NotThere(click.ClickException):
    """An object named by the command does not exist."""

    exit_code = 1
