"""Servers, migration and roles are started in any order: the service works in the end."""

from __future__ import annotations

import shutil
from contextlib import ExitStack

import pytest

from api.cli.local.proc import wait_until
from tests.e2e import stack as service
from tests.e2e.running import short_folder
from tests.e2e.stack import PATIENCE_SECONDS, WORKERS, Load, Stack
from tests.receiver import Receiver

EVERYBODY = ("api", *WORKERS)


def do(stack: Stack, exits: ExitStack, step: str) -> None:
    """One step: a server, the migration, or everybody who works."""
    if step == "migrate":
        service.migrate(stack)
    elif step in stack.servers:
        service.start_servers(stack, step)
    else:
        service.start_roles(stack, exits, *(EVERYBODY if step == "roles" else [step]))


@pytest.mark.parametrize(
    "order",
    [
        ("roles", "redis", "postgres", "migrate"),
        ("upkeep", "beat", "postgres", "webhooks", "migrate", "drain", "api", "redis"),
    ],
)
def test_any_order_ends_in_a_working_service(order: tuple[str, ...]) -> None:
    parent = short_folder()
    with ExitStack() as exits:
        stack = service.make_stack(parent / "d", exits)
        for step in order:
            do(stack, exits, step)
            if "api" in stack.processes and step != order[-1]:
                assert wait_until(lambda: is_alive(stack), PATIENCE_SECONDS), stack.log()
                assert not stack.is_ready(), step
        assert wait_until(stack.is_settled, PATIENCE_SECONDS), stack.log()
        before = stack.pids()
        with Receiver() as receiver:
            load = Load(stack, receiver)
            load.begin()
            with load.going_on():
                receiver.wait_for(5, PATIENCE_SECONDS)
            load.assert_right()
        assert stack.pids().keys() == before.keys() == set(EVERYBODY)
        assert stack.pids() == before
    shutil.rmtree(parent)


def is_alive(stack: Stack) -> bool:
    """Whether /livez is green."""
    try:
        return stack.get("/livez").status_code == 200
    except OSError:
        return False
