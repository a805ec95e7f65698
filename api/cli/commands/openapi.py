"""`unbroken openapi`: the OpenAPI document, without a server."""

from __future__ import annotations

from importlib import import_module

import click

from settings import Settings

# The document needs no connection, and creating an application opens none.
NOWHERE = Settings(
    database_url="postgresql://nowhere.invalid/x", redis_url="redis://nowhere.invalid"
)


@click.command(short_help="Print the OpenAPI 3.1 document of the API.")
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the API, as a server answers it at /openapi.json.

    \b
    Example:
      unbroken openapi > openapi.json
    """
    # Imported here: the API takes as long to load as all other commands together.
    app = import_module("api.app").create_app(NOWHERE)
    click.echo(import_module("api.openapi.document").text_of(app), nl=False)
