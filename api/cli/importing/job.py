"""What is to be imported, and how; and its rows, window by window."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import click

from api.cli.fact_line import printable
from api.cli.importing import source
from api.cli.importing.mapping import MappedRow, Mapper
from api.cli.importing.source_rows import Table, table
from api.cli.progress import FileProgress

WINDOW_ROWS = 1_000  # between two checkpoints; the API takes as many at once
SHOWN_MAX = 10  # refused rows on the screen; all of them are in --rejects
DIGEST_BYTES = 1_000_000  # read at once
REASON_CHARS_MAX = 300


@dataclass
class Job:
    """What is to be imported, and how."""

    source: str
    file_format: str
    delimiter: str | None
    mapper: Mapper
    facts: bool
    kept: Path | None  # the checkpoint
    is_afresh: bool
    rejects: Path | None
    key: str
    effects: bool = True
    shown: int = field(default=0)

    @contextmanager
    def table(self, progress: FileProgress) -> Iterator[Table]:
        """The rows of the source, as they are in it."""
        with source.opened(self.source) as stream:
            lines = source.lines(stream, progress.read)
            yield table(lines, self.file_format, self.delimiter, self.mapper.naming)

    @property
    def is_file(self) -> bool:
        """Whether it can be read twice. A pipe has other names than `-`, such as /dev/fd/63."""
        return self.source != source.STDIN and Path(self.source).is_file()

    def windows(self, found: Table) -> Iterator[list[MappedRow]]:
        """Rows by the thousand."""
        rows = self.mapper.rows(found.rows)
        while window := list(islice(rows, WINDOW_ROWS)):
            yield window

    def check(self) -> int:
        """How many rows a file has; raises BadFile for one that cannot be read to its end, before
        anything of it is sent. Of a pipe nothing is known."""
        if not self.is_file:
            return 0
        with FileProgress.of(self.source, 0) as progress, self.table(progress) as found:
            count = 0
            for count, _ in enumerate(found.rows, 1):
                if count % WINDOW_ROWS == 0:
                    progress.rows(count)
            return count

    def digest(self, url: str) -> str:
        """What makes an import the same one: a file with all that it holds. To read of a pipe would
        take its rows away."""
        parts = [url, self.key, self.source, self.file_format, str(self.delimiter)]
        naming = self.mapper.naming
        parts += [naming.kind.name, repr(sorted(naming.mapped.items()))]
        parts += [repr(sorted(naming.constants.items())), repr(sorted(naming.ignored))]
        parts += [str(self.mapper.timezone), str(self.facts)]
        parts += [] if self.effects else ["no effects"]
        found = hashlib.sha256("\n".join(parts).encode())
        if self.is_file:
            with source.opened(self.source) as stream:
                while block := stream.read(DIGEST_BYTES):
                    found.update(block)
        return found.hexdigest()

    def report_row(self, line: int, why: str) -> None:
        """Say on stderr why a row is refused; of many, the first ones."""
        self.shown += 1
        if self.shown <= SHOWN_MAX:
            click.echo(f"line {line}: {printable(why, REASON_CHARS_MAX)}", err=True)
        elif self.shown == SHOWN_MAX + 1:
            click.echo("further refused rows are not shown: --rejects keeps them all", err=True)
