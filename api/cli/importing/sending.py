"""Sends a job's rows in windows, with a checkpoint after each, so that a kill loses nothing."""

from __future__ import annotations

import uuid
from itertools import islice
from typing import Any

from unbroken_client import many
from unbroken_client.client import Unbroken
from unbroken_client.errors import ApiError
from unbroken_client.many import Sending
from unbroken_client.transport import Retries

from api.cli.errors import CannotRun
from api.cli.importing import checkpoint
from api.cli.importing.checkpoint import Checkpoint, OfAnother
from api.cli.importing.job import WINDOW_ROWS, Job
from api.cli.importing.mapping import MappedRow
from api.cli.importing.rejects import Rejects
from api.cli.importing.source_rows import Table
from api.cli.progress import FileProgress

PATIENCE_SECONDS = 900.0  # without progress: longer than a restart, an upgrade or a cap takes
RETRIES = Retries(tries_max=1_000, pause_seconds_max=10, total_seconds_max=PATIENCE_SECONDS)


def run(api: Unbroken, job: Job) -> dict[str, Any]:
    """Import the rest of a job and return its summary."""
    digest = job.digest(api.transport.url)
    state = checkpoint.load(job.kept, digest) if job.kept and not job.is_afresh else None
    began = state.rows if state else 0
    state = state or Checkpoint(digest, uuid.uuid4().hex)
    if not state.is_done or not job.is_file:
        job.check()
        _import(api, job, state)
    return {
        "rows": state.rows, "accepted": state.accepted, "refused": state.refused,
        "resumed_at": began, "facts": job.facts,
    }  # fmt: skip


def _import(api: Unbroken, job: Job, state: Checkpoint) -> None:
    with FileProgress.of(job.source, state.rows) as progress, job.table(progress) as found:
        _skip(job, state, found)
        rejects = _rejects(job, found, state)
        _keep(job, state)  # before anything is sent under its run
        for window in job.windows(found):
            if state.is_done:
                raise OfAnother(job.kept)
            refused = _send(api, job, state, window)
            state.advance([row.raw for row in window])
            if refused and rejects:
                state.rejects_bytes = rejects.add(refused)
            state.rows += len(window)
            state.refused += len(refused)
            state.accepted += len(window) - len(refused)
            _keep(job, state)
            progress.rows(state.rows)
    state.is_done = True
    _keep(job, state)


def _skip(job: Job, state: Checkpoint, found: Table) -> None:
    """Skip the settled rows; raise CannotRun if they differ from those settled."""
    passed, left = Checkpoint(state.digest, state.run), state.rows
    while left > 0 and (window := list(islice(found.rows, min(left, WINDOW_ROWS)))):
        passed.advance(window)
        left -= len(window)
    if left > 0 or passed.settled != state.settled:
        raise OfAnother(job.kept)


def _rejects(job: Job, found: Table, state: Checkpoint) -> Rejects | None:
    """The file of refused rows, as long as after the last settled window."""
    if job.rejects is None:
        return None
    path = str(job.rejects.absolute())
    if state.rejects != path:
        state.rejects, state.rejects_bytes = path, 0
    made = Rejects(job.rejects, found)
    made.begin(state.rejects_bytes)
    return made


def _keep(job: Job, state: Checkpoint) -> None:
    if job.kept:
        try:
            checkpoint.save(job.kept, state)
        except OSError as error:
            raise CannotRun(f"cannot keep {job.kept}: {error.strerror}") from None


def _send(
    api: Unbroken, job: Job, state: Checkpoint, window: list[MappedRow]
) -> list[tuple[MappedRow, str]]:
    """Send a window in as many batches as its bytes need; each key is made from the batch's
    position. Return the refused rows in the order of the file."""
    good = [row for row in window if row.item is not None]
    refused = [(row, row.why) for row in window if row.item is None]
    sending = Sending(job.facts, patience_seconds=PATIENCE_SECONDS, effects=job.effects)
    index = 0
    for batch in many.batches(row.item for row in good if row.item is not None):
        key = f"import:{state.run}:{state.rows}:{index}"
        results = job.mapper.naming.kind.send(api.transport, batch, (key, sending))
        refused += [
            (good[index + result.index], _reason(result.error))
            for result in results
            if result.error
        ]
        index += len(batch)
    refused.sort(key=lambda refusal: refusal[0].raw.line)
    for row, why in refused:
        job.report_row(row.raw.line, why)
    return refused


def _reason(error: ApiError) -> str:
    return ", ".join(
        f"{field_error.field} {field_error.message}" for field_error in error.fields
    ) or str(error)
