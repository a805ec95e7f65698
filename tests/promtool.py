"""Prometheus' own tool, which knows what Prometheus takes."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]


def promtool() -> str:
    """Debian's promtool, as `make promtool` unpacks it, or the one of this machine."""
    here = ROOT / "build" / "prometheus" / "usr" / "bin" / "promtool"
    found = str(here) if here.exists() else shutil.which("promtool")
    assert found, "promtool is missing, so the alerts are not tested: run `make promtool`"
    return found
