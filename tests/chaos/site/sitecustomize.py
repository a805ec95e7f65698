"""Imported by every Python process of ours under chaos: a clock that may be wrong, and sabotage.

It stands on the PYTHONPATH of the roles alone: the product has no hook for either.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import structs

from models import clock


def _skew(path: Path) -> None:
    """Let the process's clock be wrong by as many microseconds as the file says at the moment."""
    with path.open("rb") as file:
        page = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    true_us, true_now = clock.now_us, clock.now

    def offset_us() -> int:
        return int(struct.unpack_from("<q", page)[0])

    def now_us() -> int:
        return true_us() + offset_us()

    def now() -> datetime:
        return true_now() + timedelta(microseconds=offset_us())

    clock.now_us, clock.now = now_us, now


def _acknowledge_before_the_commit() -> None:
    """What the drain must never do: the entries are gone before their batch is applied."""
    drain = import_module("workers.apply.drain").Drain
    apply = drain._apply

    def sabotaged(self: Any, entries: Sequence[Any]) -> Any:
        self.streams.finish(entries, {})
        return apply(self, entries)

    drain._apply = sabotaged


def _forget_refusals() -> None:
    """What the drain must never do: decide a second time on what it has refused."""
    rejections = import_module("models.ledgers.rejections")
    some, append = rejections.some, rejections.append

    def known(session: Any, keys: Sequence[Any]) -> dict[Any, Any]:
        return {}

    def append_new(session: Any, rejected: Iterable[Any]) -> None:
        every = list(rejected)
        kept = some(session, [(one.tenant_id, one.id) for one in every]) if every else {}
        append(session, [one for one in every if (one.tenant_id, one.id) not in kept])

    rejections.some, rejections.append = known, append_new  # type: ignore[attr-defined]


def _hand_out_twice() -> None:
    """What any death may lead to, of every entry: it is acknowledged at its second turn only."""
    streams = import_module("workers.intake.stream").Streams
    finish = streams.finish

    def sabotaged(self: Any, entries: Iterable[Any], answers: Any) -> None:
        finish(self, [one for one in entries if self.tries(one) > 1], answers)

    streams.finish = sabotaged


def _forget_protections() -> None:
    """What the drain must never do: walk a streak without its pauses and repairs."""
    changes = import_module("workers.apply.streak_changes")
    rewalk = changes.rewalk

    def sabotaged(streak: Any, state: Any, zone: Any) -> None:
        extras = state.extras
        if extras is not None:
            state.extras = structs.replace(extras, pauses=(), repairs=())
        rewalk(streak, state, zone)
        if extras is not None and state.extras is not None:
            kept = {"pauses": extras.pauses, "repairs": extras.repairs}
            state.extras = structs.replace(state.extras, **kept)

    changes.rewalk = sabotaged  # type: ignore[attr-defined]


_SABOTAGE = {
    "forget_protections": _forget_protections,
    "ack_before_commit": _acknowledge_before_the_commit,
    "forget_refusals": _forget_refusals,
    "hand_out_twice": _hand_out_twice,
}

if "CHAOS_SKEW_FILE" in os.environ:
    _skew(Path(os.environ["CHAOS_SKEW_FILE"]))
for wanted in filter(None, os.environ.get("UNBROKEN_SABOTAGE", "").split(",")):
    _SABOTAGE[wanted]()
