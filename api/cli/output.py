"""The output of commands: JSON for programs, text and tables for terminals."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_COLUMNS = 400  # in a pipe nothing is cut or wrapped


def show(value: Any, text: str, *, as_json: bool) -> None:
    """Print a value as JSON, or its text."""
    click.echo(json.dumps(value) if as_json else text)


def show_rows(rows: Sequence[dict[str, Any]], columns: Iterable[str], *, as_json: bool) -> None:
    """Print rows as a JSON array, or as a table of some columns."""
    if as_json:
        click.echo(json.dumps(list(rows)))
        return
    names = list(columns)
    table = Table(*(name.replace("_", " ") for name in names), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    _console().print(table)


def _console() -> Console:
    is_terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        width=None if is_terminal else PLAIN_COLUMNS,
        highlight=False,
        markup=False,
    )


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value) or "-"
        case _:
            return str(value)


def show_line(line: Text) -> None:
    """Print a line, with colours only on a terminal."""
    if sys.stdout.isatty():
        _console().print(line, soft_wrap=True)
    else:
        click.echo(line.plain)
