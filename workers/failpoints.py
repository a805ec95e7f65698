"""Failpoints: named places at which a test may kill the process. No-ops unless armed."""

from __future__ import annotations

import os

_armed: frozenset[str] = frozenset()


def arm(names: str) -> None:
    """Arm a comma-separated list of failpoints; only test settings name any."""
    global _armed
    _armed = frozenset(name.strip() for name in names.split(",") if name.strip())


def failpoint(name: str) -> None:
    """Die here, as by kill -9, when this failpoint is armed."""
    if name in _armed:
        os._exit(137)
