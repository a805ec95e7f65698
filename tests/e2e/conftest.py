"""Fixtures of the tests of the whole service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from api.cli.local.proc import wait_until
from tests.e2e import stack as service
from tests.e2e.browsing import browser
from tests.e2e.deployment import charts
from tests.e2e.running import PATIENT, Up, running_up, short_folder
from tests.e2e.stack import PATIENCE_SECONDS, Load, Stack
from tests.receiver import Receiver


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """`unbroken up` of a file's own, whose ticks are waited for as long as may be."""
    folder = short_folder()
    with running_up(folder / "data", **PATIENT) as up:
        yield up
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; each page has cookies of its own."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm, built once from the Go module proxy."""
    return charts.build()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole service behind links, of a file's own; whoever breaks something mends it.

    It ends with the file: idle, it would take CPU time from all that come after it."""
    parent = short_folder()
    with ExitStack() as exits:
        made = service.make_stack(parent / "d", exits)
        service.start_servers(made, "postgres", "redis")
        service.migrate(made)
        service.start_roles(made, exits, "api", *service.WORKERS)
        assert wait_until(made.is_settled, PATIENCE_SECONDS), made.log()
        yield made
    shutil.rmtree(parent)


@pytest.fixture
def load(stack: Stack) -> Iterator[Load]:
    """A tenant that ticks; in the end nothing may have been lost or doubled."""
    with Receiver() as receiver:
        made = Load(stack, receiver)
        made.begin()
        before = stack.pids()
        yield made
        for link in stack.links.values():
            link.heal()
        made.assert_right()
        assert wait_until(stack.is_settled, PATIENCE_SECONDS), stack.log()
        assert stack.pids() == before, "nobody had to be started again"
