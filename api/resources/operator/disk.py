"""Free disk space of a data folder."""

from __future__ import annotations

import shutil
from pathlib import Path

FREE_BYTES_MIN = 32 * 1024 * 1024  # two segments of Postgres' log: with less it soon stops


def is_full(folder: Path) -> bool:
    """Whether a folder's disk is too full to work with."""
    return shutil.disk_usage(folder).free < FREE_BYTES_MIN
