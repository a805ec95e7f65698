"""`unbroken export person`: all data of one participant as a JSON document."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import click

from api.cli.connect.api_session import api_options, remote
from api.cli.errors import CannotRun
from api.cli.fact_line import printable
from api.cli.local.data_dir import write_private_stream


@click.command(short_help="Export all data of one participant.")
@click.argument("participant_id", metavar="ID")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: stdout]")
@api_options
def person(
    participant_id: str, out: Path | None, url: str | None, key: str | None, path: Path
) -> None:
    """Export a participant as JSON: all the data that an erasure would delete.

    Needs an admin key. The file of --out is readable only by its owner, and is written completely
    or not at all. Each export leaves an audit entry, which does not name the participant.

    \b
    Example:
      unbroken export person user_42 --out user_42.json
    """
    with remote(url, key, path) as api:
        chunks = api.download(f"/participants/{quote(participant_id, safe='')}/export")
        try:
            if out is None:
                for chunk in chunks:
                    sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                return
            size = write_private_stream(out, chunks)
        except BrokenPipeError:
            sys.exit(1)  # the reader closed the pipe
        except OSError as error:
            raise CannotRun(f"cannot write: {error.strerror}") from None
    click.echo(f"{size} bytes about {printable(participant_id, 255)} in {out}", err=True)
