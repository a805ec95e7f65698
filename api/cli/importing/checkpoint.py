"""The progress of an import, in a file that survives a kill at any moment."""

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
    """The rows settled so far. `run` is part of the Idempotency-Keys: the batch after these rows
    may already be accepted, and has the same key and content when it is sent again."""

    digest: str  # of source, target and options
    run: str
    rows: int = 0
    accepted: int = 0
    refused: int = 0
    is_done: bool = False
    rejects: str | None = None  # the file of refused rows; below, its length at that time
    rejects_bytes: int = 0
    settled: str = ""  # a digest of these rows: the only check for a pipe

    def advance(self, window: Sequence[Raw]) -> None:
        """Add the next rows of the source to the digest."""
        text = repr([self.settled, [row.original for row in window]])
        self.settled = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class OfAnother(CannotRun):
    """A checkpoint of another import: resuming from it would skip or repeat rows."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(
            f"{path} is of another import (file, URL, key or options differ): use the same ones,"
            " name another --checkpoint, or start again with --afresh"
        )


def load(path: Path, digest: str) -> Checkpoint | None:
    """The saved checkpoint. None without a file, or if that import ended with nothing accepted:
    then nothing can be doubled. Raises CannotRun for a file that is no checkpoint of this
    import."""
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
    """Replace the file; it is on disk when this returns."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(asdict(checkpoint), stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
