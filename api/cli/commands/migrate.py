"""`unbroken migrate`: apply missing migrations to the database of DATABASE_URL."""

from __future__ import annotations

import os

import click

from api.cli import output
from api.cli.errors import CannotRun
from api.cli.local.database import bring_up_to_date
from api.cli.local.up import read_settings
from api.cli.options import json_option


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the database of DATABASE_URL up to date: migrations and day partitions.

    `unbroken up` does this at its start. Running it twice, even at the same time, is safe.

    \b
    Example:
      DATABASE_URL=postgresql://me@db/unbroken unbroken migrate
    """
    settings = read_settings(os.environ)
    if not settings.database_url:
        raise CannotRun("DATABASE_URL is not set: it names the database to migrate")
    revision = bring_up_to_date(settings)
    output.show({"revision": revision}, f"database at revision {revision}", as_json=as_json)
