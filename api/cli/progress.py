"""Progress: a bar on a terminal, a line every 30 s in a log. On stderr."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 30.0  # between two lines of a log


@dataclass
class _WithBar:
    """A progress whose bar, if any, is shown for the length of a block."""

    bar: Bar | None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()


@dataclass
class FileProgress(_WithBar):
    """The part of a file already read; on stderr, so that stdout stays unchanged."""

    task: TaskID | None = None
    bytes_read: int = 0
    next_line_at: float | None = None  # monotonic seconds; None: no lines

    @staticmethod
    def silent() -> FileProgress:
        """A progress without output."""
        return FileProgress(None)

    @staticmethod
    def of(source: str, rows: int) -> FileProgress:
        """The progress of a file, or of stdin with unknown length."""
        if not sys.stderr.isatty():
            return FileProgress(None, next_line_at=time.monotonic() + LINE_SECONDS)
        bar = Bar(
            BarColumn(), TextColumn("{task.fields[rows]} rows"), TimeRemainingColumn(),
            console=Console(stderr=True),
        )  # fmt: skip
        total = None if source == "-" else Path(source).stat().st_size
        return FileProgress(bar, bar.add_task("", total=total, rows=rows))

    def read(self, count: int) -> None:
        """Count bytes read."""
        self.bytes_read += count

    def rows(self, number: int) -> None:
        """Count settled rows."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=self.bytes_read, rows=number)
        now = time.monotonic()
        if self.next_line_at is not None and now >= self.next_line_at:
            click.echo(f"{number} rows so far", err=True)
            self.next_line_at = now + LINE_SECONDS


@dataclass
class JobProgress(_WithBar):
    """The progress of a job of the service."""

    next_line_at: float
    task: TaskID | None = None

    @staticmethod
    def of(noun: str) -> JobProgress:
        """A progress in `noun`, such as participants."""
        if not sys.stderr.isatty():
            return JobProgress(None, time.monotonic() + LINE_SECONDS)
        columns = BarColumn(), TextColumn(f"{{task.completed}} of {{task.total}} {noun}")
        bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        return JobProgress(bar, 0.0, bar.add_task("", total=None))

    def show(self, done: int, total: int) -> None:
        """Show how far the job is."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, total=total)
        elif time.monotonic() >= self.next_line_at:
            click.echo(f"{done} of {total} so far", err=True)
            self.next_line_at = time.monotonic() + LINE_SECONDS
