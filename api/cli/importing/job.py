"""An import job: its options, and its rows in windows."""

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

WINDOW_ROWS = 1_000  # between two checkpoints; also the API's maximum per request
SHOWN_MAX = 10  # refused rows on the screen; --rejects has all
DIGEST_BYTES = 1_000_000  # per read
REASON_CHARS_MAX = 300


@dataclass
class Job:
    """An import job."""

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
        """The rows of the source."""
        with source.opened(self.source) as stream:
            lines = source.lines(stream, progress.read)
            yield table(lines, self.file_format, self.delimiter, self.mapper.naming)

    @property
    def is_file(self) -> bool:
        """Whether it can be read twice. A pipe may also have a name such as /dev/fd/63."""
        return self.source != source.STDIN and Path(self.source).is_file()

    def windows(self, found: Table) -> Iterator[list[MappedRow]]:
        """The rows in windows of a thousand."""
        rows = self.mapper.rows(found.rows)
        while window := list(islice(rows, WINDOW_ROWS)):
            yield window

    def check(self) -> int:
        """The number of rows in a file, unknown for a pipe. Raises BadFile, before anything is
        sent, if the file cannot be read to its end."""
        if not self.is_file:
            return 0
        with FileProgress.of(self.source, 0) as progress, self.table(progress) as found:
            count = 0
            for count, _ in enumerate(found.rows, 1):
                if count % WINDOW_ROWS == 0:
                    progress.rows(count)
            return count

    def digest(self, url: str) -> str:
        """The identity of an import: a digest of options and file content. A pipe's content is left
        out, because reading would consume its rows."""
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
        """Print on stderr why a row is refused, for the first few rows."""
        self.shown += 1
        if self.shown <= SHOWN_MAX:
            click.echo(f"line {line}: {printable(why, REASON_CHARS_MAX)}", err=True)
        elif self.shown == SHOWN_MAX + 1:
            click.echo("further refused rows are not shown: --rejects keeps them all", err=True)
