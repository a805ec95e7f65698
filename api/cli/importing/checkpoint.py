"""How far an import has come, in a file that survives a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from api.cli.errors import CannotRun
from api.cli.importing.source_rows import Raw


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
    settled: str = ""  # a digest of the rows so far: of a pipe nothing else is known

    def advance(self, window: Sequence[Raw]) -> None:
        """Take the next rows of the source into the digest."""
        text = repr([self.settled, [row.original for row in window]])
        self.settled = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class OfAnother(CannotRun):
    """A checkpoint of another import: to go on by it would leave out rows, or double them."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(
            f"{path} is of another import (file, URL, key or options differ): go on as it began,"
            " name another --checkpoint, or begin again with --afresh"
        )


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
        raise OfAnother(path)
    return kept


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file; on disk when this returns."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(asdict(checkpoint), stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
