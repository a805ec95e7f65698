"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_DATA = Path(".unbroken")
PORT_MAX = 65_535
WRITES_PER_MINUTE_MAX = 1_000_000  # more than a process can accept; 0 means "no cap"

data_option = click.option(
    "--data",
    "path",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    show_default=True,
    help="Data folder of `unbroken up` (data, logs, sockets).",
)
host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def operator_options(command: F) -> F:
    """The options of a command that works on the servers themselves."""
    return data_option(json_option(command))


def number_option(name: str, span: tuple[int, int], default: int, text: str) -> Callable[[F], F]:
    """An option for a whole number within a span, with its default in the help."""
    span_type = click.IntRange(*span)
    return click.option(name, type=span_type, default=default, show_default=True, help=text)


def port_option(default: int) -> Callable[[F], F]:
    """The port of a server that may take any free one."""
    text = "Port to listen on; 0 takes any free one."
    return number_option("--port", (0, PORT_MAX), default, text)


def cap_option(name: str, whose: str, default: str = "no cap") -> Callable[[F], F]:
    """An option for a cap on writes per minute; None if not given."""
    return click.option(
        f"--{name}",
        type=click.IntRange(0, WRITES_PER_MINUTE_MAX),
        metavar="N",
        help=f"Writes {whose} may make in a minute; 0: no cap.  [default: {default}]",
    )


def cap_in_words(writes_per_minute: int) -> str:
    """A cap in words."""
    return f"{writes_per_minute} writes a minute" if writes_per_minute else "no cap"
