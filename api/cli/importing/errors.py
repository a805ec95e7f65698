"""Errors that end an import or refuse one row."""

from __future__ import annotations

import click


class BadFile(click.ClickException):
    """The file cannot be read as given; the message says where and why."""

    exit_code = 1


class BadRow(ValueError):
    """An invalid row; the message says why."""
