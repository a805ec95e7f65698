"""`unbroken doctor`: check every part of the service and give advice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from api.app import DIRECTORY_CONNECTIONS
from api.cli.connect.service import locate
from api.cli.doctor import checks, redis_checks
from api.cli.doctor.checks import CheckState, Finding, well, worst
from api.cli.errors import CannotRun
from api.cli.local.up import read_settings
from api.cli.options import operator_options
from models import clock, db
from models.db import Connection, DatabaseError, schema, tenant_isolation
from models.operator import diagnosis
from settings import Settings, variables
from webhooks import egress, secrets
from webhooks.errors import SecretsError
from workers.intake.client import IntakeSettings, IntakeStatus, Unavailable, open_intake

PATIENCE_MS = 15_000  # per query to a server
# Read by commands and by docker-compose.yml, not by our processes.
_OTHERS = ("UNBROKEN_KEY", "UNBROKEN_URL", "UNBROKEN_PORT", "UNBROKEN_WEBHOOK_SECRET")
_MARKS: dict[CheckState, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "red"),
}
_CHECK_CHARS = 24


@click.command()
@operator_options
@click.pass_context
def doctor(context: click.Context, path: Path, as_json: bool) -> None:
    """Check settings, servers, workers and queues; say what to do.

    It changes nothing and prints no secret. Exits with 1 when a check failed; warnings do not
    count. It checks the settings of this shell: run it where a worker would run.

    \b
    Example:
      unbroken doctor
      unbroken doctor --json
    """
    findings = examine(path, os.environ)
    state = worst(findings)
    if as_json:
        items = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"state": state, "checks": items}))
    else:
        _print(findings)
    context.exit(1 if state == "failed" else 0)


def examine(path: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Every possible check; if a server does not answer, those of the other servers."""
    findings = [checks.variables(environ, [*variables(), *_OTHERS])]
    try:
        read_settings(environ)
        settings, where = locate(path)
    except CannotRun as error:
        advice = "correct it: no process starts with it"
        if "nothing runs" in error.message:
            advice = "nothing can be looked at until it is known where the servers are"
        return [*findings, Finding("settings", "readable", "failed", error.message, advice)]
    findings += _settings(settings, path)
    findings.append(checks.servers(settings.database_url, settings.redis_url, where))
    seen, of_redis = _redis(settings)
    return [*findings, *of_redis, *_postgres(settings, seen)]


# -- settings --------------------------------------------------------------------------------


def _settings(settings: Settings, path: Path) -> Iterator[Finding]:
    yield well("settings", "readable", "every value can be used")
    yield checks.environment(settings.environment, settings.failpoints)
    yield _ring(settings, path)
    yield _policy(settings)


def _ring(settings: Settings, path: Path) -> Finding:
    try:
        ring = secrets.ring(settings.secret_keys or _folder_key(path))
    except SecretsError as error:
        advice = "set UNBROKEN_SECRET_KEYS as the workers have it; `unbroken secrets check`"
        return Finding("settings", "secret ring", "failed", str(error), advice)
    except OSError as error:
        found = f"secret.key cannot be read: {error.strerror}"
        return Finding("settings", "secret ring", "failed", found, "run as the user of `up`")
    return well("settings", "secret ring", f"holds {len(ring.keys)}")


def _folder_key(path: Path) -> str:
    file = path / "secret.key"
    return file.read_text().strip() if file.exists() else ""


def _policy(settings: Settings) -> Finding:
    try:
        egress.policy_of(settings.of(egress.EgressSettings))
    except ValueError as error:
        advice = "correct it: no process starts with it"
        return Finding("settings", "webhook addresses", "failed", str(error), advice)
    return well("settings", "webhook addresses", "can be read")


# -- Redis and the workers -------------------------------------------------------------------


def _redis(settings: Settings) -> tuple[IntakeStatus | None, list[Finding]]:
    patient = replace(settings, redis_timeout_ms=PATIENCE_MS)
    try:
        with closing(open_intake(patient.of(IntakeSettings))) as intake:
            before = clock.now_us()
            seen = intake.read_status()
            skew = _outside(before, seen.time_us, clock.now_us())
    except ValueError:  # its message may contain a part of the URL and so of a password
        return None, [_away("redis", "REDIS_URL cannot be used")]
    except Unavailable as error:
        return None, [_away("redis", f"does not answer: {type(error.__cause__).__name__}")]
    wanted = {
        "drain": settings.drain_processes,
        "webhooks": settings.webhook_processes,
        "upkeep": 1,
        "api": 1,
    }
    findings = [well("redis", "answers", "yes"), *redis_checks.redis(seen)]
    return seen, [*findings, checks.clock("redis", skew), *redis_checks.workers(seen, wanted)]


def _away(area: str, found: str) -> Finding:
    name = "DATABASE_URL" if area == "postgres" else "REDIS_URL"
    advice = f"is it running, and does {name} name it, as the API and the workers have it?"
    return Finding(area, "answers", "failed", found, advice)


def _outside(before_us: int, theirs_us: int, after_us: int) -> float:
    """Seconds by which their instant is outside the interval between two of ours."""
    if theirs_us < before_us:
        return (theirs_us - before_us) / 1e6
    return max(0, theirs_us - after_us) / 1e6


# -- Postgres --------------------------------------------------------------------------------


def _postgres(settings: Settings, seen: IntakeStatus | None) -> list[Finding]:
    try:
        with _connection(settings) as connection:
            return [well("postgres", "answers", "yes"), *_asked(connection, settings, seen)]
    except ValueError:  # as above
        return [_away("postgres", "DATABASE_URL cannot be used")]
    except DatabaseError as error:
        return [_away("postgres", _reason(error))]


def _role(settings: Settings) -> Finding:
    """Whether an API connection runs as the role of requests."""
    engine = tenant_isolation.engine(settings.database_url, timeout_ms=PATIENCE_MS, pool=1)
    try:
        return checks.role_of_requests(is_taken=tenant_isolation.is_role_taken(engine))
    finally:
        engine.dispose()


@contextmanager
def _connection(settings: Settings) -> Iterator[Connection]:
    engine = db.engine(settings.database_url, timeout_ms=PATIENCE_MS, pool=1)
    try:
        with db.reading(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def _asked(
    connection: Connection, settings: Settings, seen: IntakeStatus | None
) -> Iterator[Finding]:
    yield from _server(connection, settings)
    revision = schema.revision(connection)
    yield checks.schema(revision, schema.head())
    if revision != schema.head():
        return  # the tables may be missing
    tables = list(settings.retention_days)
    now, deliverers = clock.now(), None if seen is None else seen.deliverers
    questions: tuple[tuple[str, Callable[[], Finding | list[Finding]]], ...] = (
        ("row-level security", lambda: checks.guard(diagnosis.guard(connection))),
        ("role of requests", lambda: _role(settings)),
        ("partitions", lambda: checks.partitions(_days(connection, tables), now.date())),
        ("stray rows", lambda: checks.strays(diagnosis.strays(connection, tables))),
        ("long transactions", lambda: _long(connection)),
        ("feed", lambda: checks.feed(diagnosis.tenants_ahead(connection))),
        ("backlog", lambda: checks.backlog(diagnosis.backlog(connection, now), now, deliverers)),
    )
    for check, ask in questions:
        yield from _answered(check, ask)


def _answered(check: str, ask: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    """The findings of a check; if it fails, the other checks still run."""
    try:
        found = ask()
    except DatabaseError as error:
        advice = "ask again; if it takes too long each time, this is a sign of its own"
        return [Finding("postgres", check, "failed", f"not answered: {_reason(error)}", advice)]
    return [found] if isinstance(found, Finding) else found


def _server(connection: Connection, settings: Settings) -> list[Finding]:
    before = clock.now_us()
    seen = diagnosis.server(connection)
    skew = _outside(before, clock.to_us(seen.now), clock.now_us())
    return checks.server(seen, skew, settings.api_connections + DIRECTORY_CONNECTIONS)


def _days(connection: Connection, tables: list[str]) -> dict[str, Any]:
    return {table: diagnosis.days(connection, table) for table in tables}


def _long(connection: Connection) -> Finding:
    return checks.long_transactions(diagnosis.long_transactions(connection, checks.LONG_SECONDS))


def _reason(error: BaseException) -> str:
    """The first line of the driver's message: it names host and user, never the password."""
    return str(error).partition("\n")[0] or type(error).__name__


# -- printing --------------------------------------------------------------------------------


def _print(findings: list[Finding]) -> None:
    """Print the findings by area, with advice below each problem."""
    order = {area: nth for nth, area in enumerate(checks.AREAS)}
    for area, some in groupby(
        sorted(findings, key=lambda finding: order[finding.area]), key=lambda finding: finding.area
    ):
        click.secho(area, bold=True)
        for result in some:
            mark, colour = _MARKS[result.state]
            click.echo(
                f"  {click.style(mark, fg=colour)} {result.check:{_CHECK_CHARS}} {result.found}"
            )
            if result.advice:
                click.echo(f"    {'':{_CHECK_CHARS}} → {result.advice}")
    counts = [
        sum(finding.state == state for finding in findings) for state in ("failed", "warning")
    ]
    said = f"{counts[0]} failed, {counts[1]} warnings" if any(counts) else "all is well"
    click.secho(f"{len(findings)} checks: {said}", bold=True)
