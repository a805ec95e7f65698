"""Everything the operator may set: the only module that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, quote, urlsplit

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting is missing or has a value that cannot be used."""


ENVIRONMENTS = ("production", "test")
LOG_FORMATS = ("", "json", "text")
LOG_REQUESTS = ("all", "errors", "none")

_BARE = ("database_url", "database_password", "redis_url", "redis_password")  # no prefix
# Each may also be given in a file, named by `<VARIABLE>_FILE`.
SECRETS = (*_BARE, "secret_keys", "webhook_proxy")


@dataclass(frozen=True)
class Settings:
    """One field per environment variable `UNBROKEN_<FIELD>`; the servers' variables have no prefix.

    The unit is in the name. Defaults suit one machine; docs/operations.md says when to change them.
    """

    database_url: str = ""
    database_password: str = ""  # unencoded, for a URL without one; `from_env` puts it into the URL
    redis_url: str = ""
    redis_password: str = ""
    # Key ring for secrets at rest: comma-separated Fernet keys, newest first.
    secret_keys: str = ""

    # -- the API ---------------------------------------------------------------------------
    wait_seconds: float = 2.0  # contract §2: how long `record` waits for the worker by default
    wait_backlog_max: int = 5_000  # entries ahead of a tick: more take longer than the wait
    tick_ahead_hours_max: int = 14  # contract §3.1: the furthest time zone
    tick_age_days_max: int = 400  # contract §3.1
    redis_timeout_ms: int = 900  # contract: 503 within a second while Redis is gone
    database_timeout_ms: int = 5_000
    api_threads: int = 16  # per process; a waiting request holds one
    api_connections: int = 16  # per process, to Postgres, beside four for keys and definitions
    api_waiters_max: int = 12  # per process: the other threads keep accepting
    keep_alive_seconds: float = 75.0  # a connection without a request; a balancer's must be shorter
    dashboard: bool = True  # whether /dashboard is served
    dashboard_session_hours: int = 12  # then its admin signs in again
    proxies: int = 0  # how many of your proxies are in front of the API and add X-Forwarded-For
    data_folder: str = ""  # set by `unbroken up`: /readyz checks the free space on its disk
    failed_keys_per_minute: int = 30  # per address; then its unknown keys are refused with 429

    # -- the intake ------------------------------------------------------------------------
    intake_entries_max: int = 1_000_000  # per stream; about 300 bytes each in Redis
    fresh_entries_max: int = 256  # of a tenant; beyond it, other tenants' fresh entries go first
    idempotency_hours: int = 24

    # -- workers ---------------------------------------------------------------------------
    drain_batch_max: int = 1_000
    drain_run_seconds: float = 30.0  # then hand over if there was work: keeps a drain warm
    drain_processes: int = 1  # how many drains the sweep may start
    takeover_idle_ms: int = 5_000  # after this time a dead drain's entries are taken over
    entry_tries_max: int = 5  # design §6: then it is a dead letter

    # -- logs ------------------------------------------------------------------------------
    log_format: str = ""  # json | text; empty: text on a terminal, else json
    log_requests: str = "all"  # all | errors | none: the requests that the API logs

    environment: str = "production"  # "test" allows failpoints, and nothing else
    failpoints: str = ""  # tests only: names of places to die at

    # -- retention, by dropping day partitions ---------------------------------------------
    ticks_days: int = 400
    facts_days: int = 90
    deliveries_days: int = 90
    attempts_days: int = 30
    audit_days: int = 400
    erasures_days: int = 30  # tombstones: longer than any accepted write may wait to be applied

    # -- webhooks --------------------------------------------------------------------------
    webhook_allow_cidrs: str = ""  # addresses that may be called although not public
    webhook_allow_http: bool = False
    webhook_ports: str = "80,443,8443"  # "*" for any
    webhook_allow_ports: str = (
        ""  # of the addresses in webhook_allow_cidrs; empty: as webhook_ports
    )
    webhook_ca_file: str = ""  # PEM: CAs of receivers, trusted beside the system's
    webhook_proxy: str = ""  # http://host:port; it then resolves names and must vet the addresses
    webhook_processes: int = 1
    deliver_idle_seconds: float = 10.0  # a deliverer stays this long: connections stay warm

    @staticmethod
    def from_env(env: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment; raise SettingsError naming the variable that cannot be read."""
        values: dict[str, Any] = {}
        for field in fields(Settings):
            text = _given(env, field.name)
            if text is not None:
                values[field.name] = _parse(variable(field.name), text, type(field.default))
        return Settings(**values)._with_passwords()._checked()

    def _with_passwords(self) -> Settings:
        """Self, with the separate passwords put into the URLs."""
        return replace(
            self,
            database_url=_with_password("database", self.database_url, self.database_password),
            redis_url=_with_password("redis", self.redis_url, self.redis_password),
            database_password="",
            redis_password="",
        )

    def _checked(self) -> Settings:
        """Return self, or raise SettingsError for values that do not fit together."""
        if self.environment not in ENVIRONMENTS:
            raise SettingsError(f"UNBROKEN_ENVIRONMENT must be one of {', '.join(ENVIRONMENTS)}")
        if self.log_format not in LOG_FORMATS:
            raise SettingsError("UNBROKEN_LOG_FORMAT must be json or text, or empty")
        if self.log_requests not in LOG_REQUESTS:
            raise SettingsError(f"UNBROKEN_LOG_REQUESTS must be one of {', '.join(LOG_REQUESTS)}")
        if self.failpoints and self.environment != "test":
            raise SettingsError(
                "UNBROKEN_FAILPOINTS makes processes die on purpose: unset it, "
                "or set UNBROKEN_ENVIRONMENT=test where nothing is worth keeping."
            )
        if not _is_url(self.redis_url):  # a later reader of the URL would print it in an error
            raise SettingsError(
                "REDIS_URL cannot be read as a URL: percent-encode what is special in its password,"
                " or give the password apart, in REDIS_PASSWORD or REDIS_PASSWORD_FILE"
            )
        for name in ("api_connections", "api_threads", "keep_alive_seconds"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{variable(name)} must be at least 1")
        return self

    @property
    def retention_days(self) -> dict[str, int]:
        """How many days of each partitioned table are kept."""
        return {
            "ticks": self.ticks_days,
            "awards": self.ticks_days,
            "rejections": self.ticks_days,
            "facts": self.facts_days,
            "deliveries_done": self.deliveries_days,
            "attempts": self.attempts_days,
            "audit_log": self.audit_days,
        }

    def of(self, part: type[T]) -> T:
        """The settings that a dataclass names: a part of the program gets only what it needs."""
        return part(**{one.name: getattr(self, one.name) for one in fields(cast(Any, part))})

    def require_urls(self, *names: str) -> Settings:
        """Return self, or raise SettingsError with the missing URL and its remedy.

        Without names, both URLs are required.
        """
        for name in names or ("database_url", "redis_url"):
            if not getattr(self, name):
                raise SettingsError(
                    f"{variable(name)} is not set. Start everything with `unbroken up`, "
                    f"or point {variable(name)} at your own server."
                )
        return self


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    return field.upper() if field in _BARE else f"UNBROKEN_{field.upper()}"


def variables() -> list[str]:
    """Every environment variable that is read."""
    return [variable(field.name) for field in fields(Settings)] + [
        f"{variable(name)}_FILE" for name in SECRETS
    ]


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without the servers' addresses and credentials."""
    names = [variable(name) for name in (*_BARE, "secret_keys")]
    left_out = {*names, *(f"{name}_FILE" for name in names)}
    return {name: value for name, value in env.items() if name not in left_out}


def _given(env: Mapping[str, str], field: str) -> str | None:
    """The text of a setting, from its variable or from the file that `<VARIABLE>_FILE` names."""
    name = variable(field)
    path = env.get(f"{name}_FILE", "") if field in SECRETS else ""
    if not path:
        return env.get(name)
    if env.get(name):
        raise SettingsError(f"{name} and {name}_FILE are both set: unset one of them")
    return _content(f"{name}_FILE", Path(path))


def _content(name: str, path: Path) -> str:
    """The content of a file, without its final line end."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}: {path} is not UTF-8 text") from None
    if not text.strip():
        raise SettingsError(f"{name}: {path} is empty")
    if "\n" in text:
        raise SettingsError(f"{name}: {path} has more than one line")
    return text


def _with_password(server: str, url: str, password: str) -> str:
    """The URL with the percent-encoded password; without a URL the password is ignored."""
    scheme, separator, rest = url.partition("://")
    if not password or not separator:
        return url
    authority, slash, path = rest.partition("/")
    user, _, address = authority.rpartition("@")
    if ":" in user or "password" in parse_qs(path.partition("?")[2]):
        name = server.upper()
        raise SettingsError(
            f"{name}_URL holds a password, and {name}_PASSWORD is set: leave one of them out"
        )
    return f"{scheme}://{user}:{quote(password, safe='')}@{address}{slash}{path}"


def _is_url(text: str) -> bool:
    try:
        _ = urlsplit(text).port
    except ValueError:
        return False
    return True


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False, "": False}[text.lower()]
        return kind(text) if kind is str else _number(text, kind)
    except (ValueError, KeyError):
        raise SettingsError(f"{name}={text!r} is not a valid {kind.__name__}") from None


def _number(text: str, kind: type) -> Any:
    value = kind(text)
    if "_" in text or not 0 <= value < float("inf"):
        raise ValueError(text)
    return value
