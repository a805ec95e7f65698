"""The checks of `unbroken doctor`: pure, values in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from models.operator.diagnosis import COUNTED_MAX, Backlog, Guard, Long, Server

CheckState = Literal["ok", "warning", "failed"]

AREAS = ("settings", "postgres", "redis", "workers", "backlog")  # in the order of display

POSTGRES_MIN = 15  # docs/operations.md
DAYS_AHEAD_MIN = 2  # maintenance makes two weeks; two days are the least that leaves time to react
LONG_SECONDS = 300  # our own transactions end within a minute, except backups
LOCKS_MIN = 6_400  # Postgres' defaults; an erasure takes about 4,500
CLOCK_SECONDS_WARNING = 2.0  # two clocks: stamped by the API, compared there
CLOCK_SECONDS_FAILED = 60.0
DUE_SECONDS_MAX = 60  # a running dispatcher leases a due delivery within a second


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with advice unless all is well."""

    area: str  # one of AREAS
    check: str
    state: CheckState
    found: str
    advice: str | None = None


def well(area: str, check: str, found: str) -> Finding:
    """A check without a problem."""
    return Finding(area, check, "ok", found)


def worst(findings: Iterable[Finding]) -> CheckState:
    """The worst state of all findings."""
    states = {finding.state for finding in findings}
    return "failed" if "failed" in states else "warning" if "warning" in states else "ok"


# -- settings --------------------------------------------------------------------------------


def variables(names: Iterable[str], known: Sequence[str]) -> Finding:
    """Environment variables with our prefix that set nothing."""
    unknown = sorted(name for name in names if name.startswith("UNBROKEN_") and name not in known)
    if not unknown:
        return well("settings", "names", "every UNBROKEN_ variable is known")
    said = []
    for name in unknown:
        near = get_close_matches(name, known, n=1)
        said.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return Finding(
        "settings",
        "names",
        "warning",
        f"unknown variables: {', '.join(said)}",
        "correct the name or unset it: it has no effect",
    )


def servers(database_url: str, redis_url: str, where: str) -> Finding:
    """The servers in use and the source of their addresses."""
    found = f"{address(database_url)} and {address(redis_url)}, from {where}"
    return well("settings", "servers", found)


_NO_URL = "a URL that cannot be read"


def address(url: str) -> str:
    """Host, port and database of a server's URL, or its socket path, and nothing else."""
    try:
        parts = urlsplit(url)
        named = parse_qs(parts.query)
    except ValueError:
        return _NO_URL
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # it may contain a part of a password
        return _NO_URL
    at = parts.netloc.rpartition("@")[2] or ",".join(named.get("host", ["localhost"]))
    if port := named.get("port"):
        at += f":{port[0]}"
    if parts.scheme == "unix":
        return f"redis {unquote(parts.path)} database {named.get('db', ['0'])[0]}"
    kind = "redis" if parts.scheme.startswith("redis") else "postgres"
    return f"{kind} {at} database {unquote(parts.path[1:]) or '0'}"


def environment(name: str, failpoints: str) -> Finding:
    """Whether this is configured for production, without failpoints."""
    if failpoints:
        return Finding(
            "settings",
            "environment",
            "failed",
            f"processes are killed on purpose at: {failpoints}",
            "unset UNBROKEN_FAILPOINTS and restart every process",
        )
    if name != "production":
        return Finding(
            "settings",
            "environment",
            "warning",
            f"UNBROKEN_ENVIRONMENT is {name}: failpoints may be named",
            "unset it where data must be kept",
        )
    return well("settings", "environment", "production, no failpoints")


# -- Postgres --------------------------------------------------------------------------------


def server(seen: Server, skew: float, api_pool: int) -> list[Finding]:
    """Version, durability, capacity, clock. `skew`: seconds by which its clock is ahead of ours;
    `api_pool`: connections per API process."""
    return [
        _version(seen.version),
        _encoding(seen.encoding),
        *[_durable(name, value) for name, value in seen.settings.items()],
        _connections(seen, api_pool),
        _locks(seen.locks),
        _prepared(seen.prepared),
        clock("postgres", skew),
    ]


def _version(version: int) -> Finding:
    major = version // 10_000
    if major >= POSTGRES_MIN:
        return well("postgres", "version", f"{major}.{version % 10_000}")
    return Finding(
        "postgres",
        "version",
        "failed",
        f"{major}",
        f"upgrade the server to {POSTGRES_MIN} or later",
    )


def _encoding(encoding: str) -> Finding:
    if encoding == "UTF8":
        return well("postgres", "encoding", encoding)
    advice = "create a database with ENCODING 'UTF8' and move the data: names may be any text"
    return Finding("postgres", "encoding", "failed", encoding, advice)


_DURABLE = {
    "fsync": "a crash of the machine may destroy the database",
    "full_page_writes": "a crash of the machine may destroy pages of the database",
    "synchronous_commit": "a crash may lose ticks that were acknowledged: they are gone from Redis",
}


def _durable(name: str, value: str) -> Finding:
    if value not in ("off", "local"):
        return well("postgres", name, value)
    if value == "local":
        advice = f"set {name} = on unless a standby may be behind when it takes over"
        return Finding("postgres", name, "warning", value, advice)
    return Finding("postgres", name, "failed", f"off: {_DURABLE[name]}", f"set {name} = on")


def _connections(seen: Server, api_pool: int) -> Finding:
    left = seen.connections_max - seen.connections_used
    found = f"{seen.connections_used} of {seen.connections_max} in use"
    if left >= api_pool:
        return well("postgres", "connections", found)
    advice = (
        "raise max_connections, or lower UNBROKEN_API_CONNECTIONS:"
        f" an API process takes up to {api_pool}, and a rollout starts new ones beside the old"
    )
    return Finding("postgres", "connections", "warning" if left > 2 else "failed", found, advice)


def _locks(locks: int) -> Finding:
    if locks >= LOCKS_MIN:
        return well("postgres", "locks", f"room for {locks}")
    advice = "raise max_locks_per_transaction: erasing a participant takes about 4,500 locks"
    return Finding("postgres", "locks", "warning", f"room for {locks}", advice)


def _prepared(count: int) -> Finding:
    if not count:
        return well("postgres", "prepared transactions", "none")
    advice = "commit or roll them back (pg_prepared_xacts): they delay the feed of facts"
    return Finding("postgres", "prepared transactions", "warning", f"{count}", advice)


def clock(area: str, skew: float) -> Finding:
    """A server's clock skew in seconds."""
    if abs(skew) < CLOCK_SECONDS_WARNING:
        return well(area, "clock", "as ours")
    state: CheckState = "failed" if abs(skew) >= CLOCK_SECONDS_FAILED else "warning"
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine"
    return Finding(area, "clock", state, found, "set both clocks by NTP: writes carry their time")


def schema(revision: str | None, head: str) -> Finding:
    """Whether the schema is this release's."""
    if revision == head:
        return well("postgres", "schema", f"revision {head}")
    found = "no tables" if revision is None else f"revision {revision}, this release wants {head}"
    advice = "run `unbroken migrate`"
    if revision is not None and revision > head:
        advice = "the database is newer than this release: run the release that migrated it"
    return Finding("postgres", "schema", "failed", found, advice)


def guard(seen: Guard) -> Finding:
    """Row-level security: whether requests can take their role and workers see all rows."""
    what = "row-level security"
    migrate = "run `unbroken migrate` as the owner of the tables"
    if not seen.is_there:
        return Finding("postgres", what, "failed", "the role of requests is missing", migrate)
    if not seen.is_ours:
        found = "this user may not become the role of requests"
        return Finding("postgres", what, "failed", found, migrate)
    if seen.ungranted:
        found = f"the role of requests may not use {', '.join(seen.ungranted)}"
        return Finding("postgres", what, "failed", found, migrate)
    if seen.hidden:
        found = f"this user does not see all rows of {', '.join(seen.hidden)}"
        advice = "set DATABASE_URL to the owner of the tables: workers serve every tenant"
        return Finding("postgres", what, "failed", found, advice)
    return well("postgres", what, "requests see one tenant, workers all")


def role_of_requests(*, is_taken: bool) -> Finding:
    """Whether an API connection takes the role that sees one tenant."""
    what = "role of requests"
    if is_taken:
        return well("postgres", what, "taken by each connection")
    found = "not taken: a pooler drops the options of connections, so the API refuses to serve"
    advice = (
        "point the API's DATABASE_URL at Postgres itself: with ignore_startup_parameters=options"
        " PgBouncer lets requests see every tenant"
    )
    return Finding("postgres", what, "failed", found, advice)


def partitions(days: Mapping[str, Sequence[date]], today: date) -> Finding:
    """Whether the coming days have partitions."""
    wanted = [today + timedelta(days=nth) for nth in range(DAYS_AHEAD_MIN + 1)]
    short = [table for table, there in days.items() if not set(wanted) <= set(there)]
    if not short:
        ahead = min((max(there) - today).days for there in days.values())
        return well("postgres", "partitions", f"{ahead} days ahead")
    found = f"partitions of the next {DAYS_AHEAD_MIN} days are missing for {', '.join(short)}"
    advice = "run `unbroken migrate`, then check that beat and upkeep run hourly"
    return Finding("postgres", "partitions", "failed", found, advice)


def strays(tables: Sequence[str]) -> Finding:
    """Whether default partitions hold rows; retention does not delete these."""
    if not tables:
        return well("postgres", "stray rows", "none")
    found = f"rows of days without a partition in {', '.join(tables)}"
    advice = (
        "`unbroken migrate` moves rows of the days ahead; the ids of others show when they were"
        " written: check the clocks, and whether upkeep was down"
    )
    return Finding("postgres", "stray rows", "warning", found, advice)


def long_transactions(found: Sequence[Long]) -> Finding:
    """Whether a long transaction holds back the feed or the vacuum."""
    what = "long transactions"
    if not found:
        return well("postgres", what, f"none over {LONG_SECONDS} s")
    said = ", ".join(
        f"{session.application} (pid {session.pid}, {session.seconds} s"
        f"{', writing' if session.is_writing else ''})"
        for session in found[:5]
    )
    advice = (
        "end them (pg_terminate_backend) unless they are backups: writing ones delay the feed of"
        " facts, all of them delay the vacuum"
    )
    return Finding("postgres", what, "warning", said, advice)


def feed(tenants_ahead: int) -> Finding:
    """Whether facts wait behind transaction numbers that this server has not reached yet."""
    if not tenants_ahead:
        return well("postgres", "feed", "no fact is ahead of its server")
    found = f"facts of {tenants_ahead} tenants were written by another server and may not show"
    return Finding("postgres", "feed", "failed", found, "run `unbroken restored`")


# -- backlog in the database -----------------------------------------------------------------


def backlog(seen: Backlog, now: datetime, deliverers: int | None) -> list[Finding]:
    """Unfinished work. `deliverers`: running dispatchers; None if Redis did not answer."""
    return [
        _deliveries(seen, now, deliverers),
        _destinations(seen),
        _dead_letters(seen.dead_letters),
    ]


def _deliveries(seen: Backlog, now: datetime, deliverers: int | None) -> Finding:
    if seen.oldest_due is None:
        return well("backlog", "deliveries", "none due")
    age = int((now - seen.oldest_due).total_seconds())
    count = f"more than {COUNTED_MAX}" if seen.due >= COUNTED_MAX else f"{seen.due}"
    found = f"{count} due, the oldest for {duration(age)}"
    if age <= DUE_SECONDS_MAX:
        return well("backlog", "deliveries", found)
    if deliverers == 0:
        advice = "no deliverer is alive: start a worker of the queue `webhooks` and look at its log"
        return Finding("backlog", "deliveries", "failed", found, advice)
    advice = "more deliverers (UNBROKEN_WEBHOOK_PROCESSES), or a slow destination: see its attempts"
    return Finding("backlog", "deliveries", "warning", found, advice)


def _destinations(seen: Backlog) -> Finding:
    if not seen.disabled and not seen.failing:
        return well("backlog", "destinations", "none disabled, none failing")
    found = f"{seen.disabled} disabled, {seen.failing} failing"
    advice = (
        "GET /admin/webhooks shows which and why; after the repair enable a disabled one again;"
        " POST /admin/webhooks/{id}/probe probes a failing one now"
    )
    return Finding("backlog", "destinations", "warning", found, advice)


def _dead_letters(count: int) -> Finding:
    if not count:
        return well("backlog", "dead letters", "none")
    advice = "see `unbroken dead-letters list`; fix the cause, then replay or discard them"
    return Finding("backlog", "dead letters", "warning", f"{count}", advice)


def duration(seconds: float) -> str:
    """A duration in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
