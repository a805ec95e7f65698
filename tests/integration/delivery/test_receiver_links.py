"""The link to a receiver is cut, or carries nothing more: the same fact goes out again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.world import SHORT, World
from tests.links import Link
from tests.receiver import Receiver


@pytest.fixture
def link(receiver: Receiver) -> Iterator[Link]:
    """The link to the receiver."""
    with Link(("127.0.0.1", receiver.port)) as link:
        yield link


@pytest.mark.parametrize(("fault", "error"), [("cut", "unreachable"), ("stall", "timeout")])
def test_every_fact_arrives_once_the_link_is_back(
    fault: str, error: str, world: World, receiver: Receiver, link: Link
) -> None:
    """Nobody else waits for it; what was sent into a mute link may come twice, under one id."""
    with Receiver() as other:
        world.subscribe(f"http://127.0.0.1:{link.port}/hook")
        world.subscribe(other.url)
        world.publish(4)
        world.deliver(timeouts=SHORT)
        getattr(link, fault)()
        published = world.publish(2)
        world.deliver(timeouts=SHORT)
        assert other.count == 6
        assert sorted(world.statuses()) == ["delivered"] * 10 + ["pending"] * 2
        made = [one.error for fact in published for one in world.attempts(fact)]
        assert sorted(made, key=str) == [None, None, error, error]
        link.heal()
        world.make_due()
        world.deliver(timeouts=SHORT)
        assert world.statuses() == ["delivered"] * 12
        assert receiver.bodies() == other.bodies()
