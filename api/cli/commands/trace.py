"""`unbroken trace`: the steps of one write, from the API to the destinations."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from api.cli import output
from api.cli.connect.service import service
from api.cli.errors import NotThere
from api.cli.fact_line import printable
from api.cli.options import operator_options
from api.resources.activity import write_trace
from api.resources.activity.write_trace import Trace, TraceStep
from models import clock

_LINE_CHARS = 200
_WAITING = "--:--:--.---"


@click.command(short_help="Show the history of one write, from accepted to delivered.")
@click.argument("write_id", metavar="ID", type=click.UUID)
@operator_options
def trace(write_id: UUID, path: Path, as_json: bool) -> None:
    """Show the history of one write: accepted, queued, applied, its facts, every delivery attempt.

    ID is what the API answered: a tick_id, award_id, transaction_id, assignment_id or claim_id.
    It also shows writes that still wait, dead letters, erasures, and what is no longer retained.

    \b
    Example:
      unbroken trace 01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f
    """
    with service(path) as found, found.reading() as connection:
        traced = write_trace.follow(connection, found.intake, write_id, found.ticks_days)
    if traced is None:
        raise NotThere(f"no tenant was given the id {write_id}: is it that of a write?")
    output.show(_document(traced), _timeline(traced), as_json=as_json)


def _document(traced: Trace) -> dict[str, Any]:
    return {
        "id": str(traced.write_id),
        "kind": traced.kind,
        "tenant": traced.tenant.slug,
        "mode": traced.tenant.mode,
        "status": traced.status,
        "steps": [step.as_json() for step in traced.steps],
    }


def _timeline(traced: Trace) -> str:
    day = clock.from_us(0) if traced.steps[0].at is None else traced.steps[0].at
    head = (
        f"{traced.kind} {traced.write_id} of {traced.tenant.slug} ({traced.tenant.mode}):"
        f" {traced.status.replace('_', ' ')}\n{day:%Y-%m-%d}, UTC"
    )
    return "\n".join([head, *(_line(step) for step in traced.steps)])


def _line(step: TraceStep) -> str:
    at = _WAITING if step.at is None else f"{step.at:%H:%M:%S}.{step.at.microsecond // 1_000:03}"
    return f"  {at}  {step.what.replace('_', ' '):12}{printable(step.said, _LINE_CHARS)}"
