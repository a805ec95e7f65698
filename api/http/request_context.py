"""The context of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from flask import Request, current_app, request

from api.http.failed_key_throttle import Throttle
from api.http.key_cache import Directory
from api.http.key_list import KeyList
from api.http.load_shedding import Memory
from api.http.prefer import Waiters
from models.db import Engine
from webhooks.egress import Policy
from workers.intake.client import Intake

EXTENSION = "unbroken"
BASE_PATH = "/api/v1/gamify"  # contract §1
SCRIP_PATH = "/v1"  # contract §1
DASHBOARD_PATH = "/dashboard"  # HTML pages


@dataclass(frozen=True)
class ApiSettings:
    """The settings that requests use, named as in settings.py."""

    secret_keys: str
    wait_seconds: float
    wait_backlog_max: int
    tick_ahead_hours_max: int
    tick_age_days_max: int
    ticks_days: int
    dashboard: bool
    dashboard_session_hours: int
    proxies: int
    data_folder: str


@dataclass(frozen=True)
class Slots:
    """Limits of concurrent slow requests by kind in this process, so that other threads keep
    accepting writes. A request above the limit is refused with 503."""

    erasures: Waiters = field(default_factory=lambda: Waiters(4))  # they wait for each other
    exports: Waiters = field(default_factory=lambda: Waiters(2))  # a thread and a connection each
    csv_files: Waiters = field(default_factory=lambda: Waiters(4))  # as slow as the caller reads
    test_sends: Waiters = field(default_factory=lambda: Waiters(4))  # at most 15 s each


@dataclass(frozen=True)
class AppContext:
    """The connections of one API process."""

    settings: ApiSettings
    engine: Engine  # sees every tenant: for authentication and readiness
    rows: Engine  # sees the rows of one tenant at a time (api/http/tenant_session.py)
    intake: Intake
    directory: Directory
    waiters: Waiters
    memory: Memory  # of recent refusals (load_shedding.py)
    throttle: Throttle  # for guessed keys
    key_list: KeyList  # of keys that no throttle refuses
    policy: Policy  # which URLs destinations may have
    slots: Slots = field(default_factory=Slots)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()
        self.rows.dispose()
        self.intake.close()


def app_context() -> AppContext:
    """The context of the application that serves this request."""
    return cast(AppContext, current_app.extensions[EXTENSION])


def this_request() -> Request:
    """The request object: Flask's `request` proxy looks it up at every use."""
    return cast(Request, cast(Any, request)._get_current_object())


def is_https(here: Request) -> bool:
    """Whether the caller uses https, to this server or to the operator's proxy."""
    behind_proxies = app_context().settings.proxies > 0
    forwarded = here.headers.get("X-Forwarded-Proto", "") if behind_proxies else ""
    return here.is_secure or forwarded.rpartition(",")[2].strip() == "https"


def own_url() -> str:
    """This service's URL as the caller reaches it."""
    here = this_request()
    return f"{'https' if is_https(here) else 'http'}://{here.host}"
