"""What a request is given to work with."""

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
DASHBOARD_PATH = "/dashboard"  # pages for people


@dataclass(frozen=True)
class ApiSettings:
    """The settings that requests ask for, by their names in settings.py."""

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
    """How many slow requests of a kind run at once in this process, so that the other threads keep
    accepting; one more is refused with 503."""

    erasures: Waiters = field(default_factory=lambda: Waiters(4))  # they wait for one another
    exports: Waiters = field(default_factory=lambda: Waiters(2))  # a thread and a connection each
    csv_files: Waiters = field(default_factory=lambda: Waiters(4))  # as long as their readers take
    test_sends: Waiters = field(default_factory=lambda: Waiters(4))  # 15 s each at most


@dataclass(frozen=True)
class AppContext:
    """The connections of one API process."""

    settings: ApiSettings
    engine: Engine  # sees every tenant: to find out who asks, and whether we can serve
    rows: Engine  # sees the rows of one tenant at a time (api/http/tenant_session.py)
    intake: Intake
    directory: Directory
    waiters: Waiters
    memory: Memory  # of what the door was told a moment ago
    throttle: Throttle  # of guessers of keys
    key_list: KeyList  # of keys that no throttle refuses
    policy: Policy  # which URLs destinations may have
    slots: Slots = field(default_factory=Slots)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
        self.rows.dispose()
        self.intake.close()


def app_context() -> AppContext:
    """The context of the application that serves this request."""
    return cast(AppContext, current_app.extensions[EXTENSION])


def this_request() -> Request:
    """The request itself: Flask's `request` looks it up anew at every use."""
    return cast(Request, cast(Any, request)._get_current_object())


def is_https(here: Request) -> bool:
    """Whether the caller speaks https, to us or to a proxy of the operator's."""
    behind_proxies = app_context().settings.proxies > 0
    forwarded = here.headers.get("X-Forwarded-Proto", "") if behind_proxies else ""
    return here.is_secure or forwarded.rpartition(",")[2].strip() == "https"


def own_url() -> str:
    """Where this service is, as the caller reaches it."""
    here = this_request()
    return f"{'https' if is_https(here) else 'http'}://{here.host}"
