"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_DATA = Path(".unbroken")

data_option = click.option(
    "--data",
    "path",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    show_default=True,
    help="Folder of the data, logs and sockets of `unbroken up`.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
