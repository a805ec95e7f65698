"""Failpoints: named places at which a test may kill the process. No-ops unless armed."""

from __future__ import annotations

import os

# All failpoints, by the role that dies there; a test kills it at each of them. The part before the
# dot names what the process was doing.
FAILPOINTS: dict[str, tuple[str, ...]] = {
    "api": ("api.after_append", "api.after_commit"),
    "drain": ("drain.after_read", "drain.mid_sql", "drain.after_commit_before_ack"),
    "webhooks": (
        "deliver.after_claim",
        "deliver.after_send_before_record",
        "deliver.mid_sql",
    ),
    "upkeep": (
        "sweep.after_lock",
        "deadlines.mid_sql",
        "deadlines.after_commit",
        "leaderboards.mid_sql",
        "replay.before_commit",
        "replay.after_commit",
        "restore.before_commit",
        "restore.after_commit",
        "partitions.after_making",
    ),
}

# Of the process, not of a context: what dies is the process, from a function at any depth.
_armed: frozenset[str] = frozenset()


def arm(names: str) -> None:
    """Arm a comma-separated list of failpoints; only test settings name any.

    Raises ValueError for an unknown one: its test would wait for a death in vain.
    """
    global _armed
    wanted = frozenset(name.strip() for name in names.split(",") if name.strip())
    unknown = wanted.difference(*FAILPOINTS.values())
    if unknown:
        raise ValueError(f"UNBROKEN_FAILPOINTS: there is no failpoint {', '.join(sorted(unknown))}")
    _armed = wanted


def failpoint(name: str) -> None:
    """Die here, as by kill -9, when this failpoint is armed."""
    if name in _armed:
        os._exit(137)
