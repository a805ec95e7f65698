"""`unbroken up`: the whole service on one machine."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

import click
import requests

from api.cli.errors import CannotRun
from api.cli.local import child_process, data_dir, embedded, forked, postgres, process_specs, redis
from api.cli.local.child_process import Role
from api.cli.local.data_dir import Data
from api.cli.local.database import bring_up_to_date, speaking_of_database
from api.cli.local.process_specs import METRICS_PORT, ProcessPlan
from api.cli.local.supervisor import TICK_SECONDS, Supervisor, say
from api.cli.options import PORT_MAX, data_option, host_option, number_option, port_option
from api.cli.ports import base_url, free_port, reachable
from api.cli.program_name import program
from settings import Settings, SettingsError, variable, without_secrets

METRICS_HOST = "127.0.0.1"  # its port needs no key
HINT_SECONDS = 30.0  # a start takes 5 s; after this the missing part is named
_PROBE_SECONDS = 5.0
DEATHS_MAX = 5  # of a server during the start; then its log names the cause
PAUSE_SECONDS = 0.5
T = TypeVar("T")

# Needed for a first try on one machine; unsafe for a service on the internet.
LOCAL_WEBHOOKS = {
    "UNBROKEN_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128",
    "UNBROKEN_WEBHOOK_ALLOW_HTTP": "1",
    "UNBROKEN_WEBHOOK_ALLOW_PORTS": "*",
}


class _Stopping(BaseException):
    """A stop was requested."""


@click.command()
@host_option
@port_option(8000)
@data_option
@number_option("--drain-workers", (1, 64), 1, "Drain processes, which apply accepted writes.")
@number_option("--webhook-workers", (1, 64), 1, "Processes that deliver facts.")
@number_option(
    "--metrics-port",
    (0, PORT_MAX),
    METRICS_PORT,
    "Port of /metrics for Prometheus, on 127.0.0.1; 0: none. If it is taken, a free port.",
)
def up(
    host: str,
    port: int,
    path: Path,
    drain_workers: int,
    webhook_workers: int,
    metrics_port: int,
) -> None:
    """Run everything on this machine: Postgres, Redis, API, workers.

    Prints `ready http://HOST:PORT` on stdout when the API answers. Ctrl-C stops everything; the
    next start uses the same data. Set DATABASE_URL or REDIS_URL to use your own server instead of
    the embedded one.

    \b
    Example:
      unbroken up --port 8080 --data ./data
    """
    run(ProcessPlan(host, port, drain_workers, webhook_workers, metrics_port), path, os.environ)


def run(plan: ProcessPlan, path: Path, environ: Mapping[str, str]) -> None:
    """Run until a stop is requested; raise CannotRun if the service cannot start."""
    settings = read_settings(environ)
    folder = data_dir.prepare(path)
    with data_dir.locked(folder), _stoppable():
        child_process.clear_all(folder)
        plan = replace(plan, port=free_port(plan.host, plan.port))
        plan = replace(plan, metrics_port=_metrics_port(plan.metrics_port))
        supervisor = Supervisor(folder, environ)
        try:
            _bring_up(supervisor, plan, settings)
            while True:
                supervisor.tend()
                time.sleep(TICK_SECONDS)
        finally:
            if supervisor.members:
                say("stopping")
            supervisor.stop()
            child_process.clear_all(folder)  # a starting child is not registered yet
            (folder.run / "up.json").unlink(missing_ok=True)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings, or a CannotRun that names the invalid variable."""
    try:
        return Settings.from_env(environ)
    except SettingsError as error:
        raise CannotRun(str(error)) from error


@contextmanager
def _stoppable() -> Iterator[None]:
    """Leave the block on SIGINT, SIGTERM or SIGHUP; the stop itself is not interrupted."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for signal_number in wanted:
            signal.signal(signal_number, signal.SIG_IGN)
        raise _Stopping

    for signal_number in wanted:
        signal.signal(signal_number, stop)
    try:
        yield
    except _Stopping:
        return


def _metrics_port(wanted: int) -> int:
    """The port, or a free one if it is taken: the service starts in any case."""
    try:
        return wanted and free_port(METRICS_HOST, wanted)
    except CannotRun:
        found = free_port(METRICS_HOST, 0)
        say(f"port {wanted} is taken: metrics are at http://{METRICS_HOST}:{found}/metrics")
        return found


# -- starting --------------------------------------------------------------------------------


def _bring_up(supervisor: Supervisor, plan: ProcessPlan, settings: Settings) -> None:
    folder, began = supervisor.data, time.monotonic()
    settings = _start_servers(supervisor, settings)
    revision = _patiently(supervisor, lambda: bring_up_to_date(settings))
    say(f"database at revision {revision}")
    supervisor.environment = child_environment(supervisor.environment, settings, plan, folder)
    for role in process_specs.ours(plan, folder):
        supervisor.add(role, forked.start)
    base = base_url(plan.host, plan.port)
    _when_there_is_room(supervisor, lambda: _record(folder, base, settings, plan))
    _wait_ready(supervisor, base)
    say(f"up in {time.monotonic() - began:.1f} s; Ctrl-C stops; logs in {folder.logs}")
    if settings.dashboard:
        made = f"{program()} tenant create acme"
        say(f"dashboard: {base}/dashboard, for admin keys (`{made}` shows two)")
    click.echo(f"ready {base}")


def _start_servers(supervisor: Supervisor, settings: Settings) -> Settings:
    """Start the servers that have no URL; return the settings with both URLs."""
    folder = supervisor.data
    wanted: list[Role] = []
    if not settings.database_url:
        wanted.append(postgres.prepare(folder))
        settings = replace(settings, database_url=postgres.url(folder))
    if not settings.redis_url:
        wanted.append(redis.prepare(folder))
        settings = replace(settings, redis_url=redis.url(folder))
    for role in wanted:
        say(f"starting {role.name}")
        supervisor.add(role, embedded.start)
    forked.share()  # while they start
    _await_servers(supervisor)
    if any(role.name == "postgres" for role in wanted):
        _patiently(supervisor, lambda: _ensure_database(folder))
    return settings


def _ensure_database(folder: Data) -> None:
    with speaking_of_database():
        postgres.ensure_database(folder)


def _await_servers(supervisor: Supervisor) -> None:
    """Wait until our servers answer; a dead one is restarted."""
    ends = time.monotonic() + embedded.READY_SECONDS
    for child in supervisor.members:
        while not (child.is_running() and embedded.is_ready(child.role, supervisor.data)):
            supervisor.tend()
            is_hopeless = child.deaths >= DEATHS_MAX and not supervisor.is_full
            if is_hopeless or time.monotonic() > ends:
                raise embedded.did_not_start(child.role, supervisor.data)
            time.sleep(TICK_SECONDS)


def _patiently(supervisor: Supervisor, work: Callable[[], T]) -> T:
    """Run work on the database; repeat it if a server of ours went away meanwhile."""
    for _ in range(DEATHS_MAX if supervisor.members else 0):
        try:
            return work()
        except CannotRun as error:
            say(f"{error.message}; trying again")
            time.sleep(PAUSE_SECONDS)
            supervisor.tend()
            _await_servers(supervisor)
    return work()


def _when_there_is_room(supervisor: Supervisor, write: Callable[[], None]) -> None:
    """Write a file; while the disk is full, keep the children running and retry."""
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            supervisor.tend()
            time.sleep(PAUSE_SECONDS)


def child_environment(
    environ: Mapping[str, str], settings: Settings, plan: ProcessPlan, folder: Data
) -> dict[str, str]:
    """The environment of the API and the workers: ours, plus the values that `up` sets."""
    local = {name: value for name, value in LOCAL_WEBHOOKS.items() if name not in environ}
    if local:
        listed = " ".join(f"{name}={value}" for name, value in local.items())
        say(f"webhooks may go to this machine (set these yourself to change it): {listed}")
    return {
        **without_secrets(environ),  # from a file or a separate variable: now in `settings`
        **local,
        "PYTHONUNBUFFERED": "1",  # the log must contain the last lines
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        variable("secret_keys"): settings.secret_keys or data_dir.secret_key(folder),
        variable("data_folder"): str(folder.root),
        variable("drain_processes"): str(plan.drain_workers),
        variable("webhook_processes"): str(plan.webhook_workers),
    }


def _record(folder: Data, base: str, settings: Settings, plan: ProcessPlan) -> None:
    """Save the servers' addresses and the number of workers for other commands."""
    found = {
        "url": base,
        "pid": os.getpid(),
        "database_url": settings.database_url,
        "redis_url": settings.redis_url,
        "drain_processes": plan.drain_workers,
        "webhook_processes": plan.webhook_workers,
    }
    data_dir.write_private(folder.run / "up.json", json.dumps(found))


def _wait_ready(supervisor: Supervisor, base: str) -> None:
    say("waiting for the API")
    hint = time.monotonic() + HINT_SECONDS
    with requests.Session() as session:
        session.trust_env = False  # no proxy for this machine
        while (answer := _probe(session, base)) != "":
            if time.monotonic() > hint:
                say(f"still not ready: {answer}")
                hint = time.monotonic() + HINT_SECONDS
            supervisor.tend()
            time.sleep(TICK_SECONDS)


def _probe(session: requests.Session, base: str) -> str:
    """Empty if /readyz is green, else its message."""
    try:
        response = session.get(f"{reachable(base)}/readyz", timeout=_PROBE_SECONDS)
    except requests.RequestException:
        return "the API does not answer yet"
    return "" if response.status_code == 200 else response.text[:500]
