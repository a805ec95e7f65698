"""`unbroken restored`: repairs what a backup cannot contain."""

from __future__ import annotations

import os
from pathlib import Path

import click

from api.cli import output
from api.cli.connect.service import find
from api.cli.local.database import bring_up_to_date, speaking_of_database
from api.cli.local.up import read_settings
from api.cli.options import operator_options
from models import db
from models.operator import audit_log, diagnosis
from models.operator.audit_log import NO_TENANT, NewAuditEntry

TIMEOUT_MS = 60_000  # renumbering removes the limit for itself


@click.command(short_help="Repair what a restored backup of the database lacks.")
@operator_options
def restored(path: Path, as_json: bool) -> None:
    """Repair what a restored backup of the database lacks; run it once after `pg_restore`.

    The role of requests belongs to the server, not to the database: this command creates it and
    grants it the tables, as `unbroken migrate` does. Facts carry transaction numbers of the old
    server. If the new server has not reached them, the facts are renumbered; otherwise GET /facts
    would not list them. Readers of that feed then start again. Running it twice is safe.

    \b
    Example:
      pg_restore --no-owner --no-privileges --dbname="$DATABASE_URL" unbroken.dump
      unbroken restored
    """
    settings = read_settings(os.environ)
    if not settings.database_url:  # DATABASE_URL alone is enough
        settings = find(path)
    revision = bring_up_to_date(settings)
    with speaking_of_database():
        engine = db.engine(settings.database_url, timeout_ms=TIMEOUT_MS, pool=1)
        try:
            with db.transaction(engine) as connection:
                count = diagnosis.tenants_ahead(connection) and diagnosis.renumber_facts(connection)
                detail = {"revision": revision, "renumbered": count}
                audit_log.record(
                    connection, NewAuditEntry(NO_TENANT, "database.restored", detail=detail)
                )
        finally:
            engine.dispose()
    text = f"database at revision {revision}; {count} facts renumbered."
    if count:
        text += " Readers of GET /facts begin again, without a cursor."
    output.show(detail, text, as_json=as_json)
