"""What ends an import, and what refuses one row of it."""

from __future__ import annotations

import click


class BadFile(click.ClickException):
    """The file as a whole cannot be read as it was asked for; the text says where and why."""

    exit_code = 1


class BadRow(ValueError):
    """A row that is no write; the text says why."""
