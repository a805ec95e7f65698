"""How far an import has come, in a file that survives a kill at any moment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from api.cli.errors import CannotRun


@dataclass
class Checkpoint:
    """Rows settled so far. Its run names the Idempotency-Keys: the batch after them, which may have
    been accepted without our knowing, has the same key and content when it is sent again."""

    digest: str  # of what is imported, where, and how
    run: str
    rows: int = 0
    accepted: int = 0
    refused: int = 0
    is_done: bool = False
    rejects: str | None = None  # the file of refused rows, and its length when they were settled
    rejects_bytes: int = 0


def load(path: Path, digest: str) -> Checkpoint | None:
    """What was kept; None without any, or where an import ended with nothing accepted: there is
    nothing to double then. Raises CannotRun for a file that is of something else."""
    try:
        kept = Checkpoint(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise CannotRun(
            f"{path} is no checkpoint of an import: name another --checkpoint"
        ) from None
    if kept.is_done and not kept.accepted:
        return None
    if kept.digest != digest:
        raise CannotRun(
            f"{path} is of another import (file, URL, key or options differ): go on as it began,"
            " name another --checkpoint, or begin again with --afresh"
        )
    return kept


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file; on disk when this returns."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(asdict(checkpoint), stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
