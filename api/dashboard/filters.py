"""Formats of values on pages."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint
from werkzeug.datastructures import MultiDict

from models import clock


def moment(text: str | None) -> str:
    """An instant to the second, in UTC."""
    if not text:
        return "–"
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def ago(text: str | None) -> str:
    """The rough distance of an instant, past or future."""
    if not text:
        return "–"
    seconds = (clock.now() - datetime.fromisoformat(text)).total_seconds()
    span = _span(abs(seconds))
    return f"in {span}" if seconds < -1 else f"{span} ago"


def due(text: str, is_parked: bool) -> str:
    """When an attempt is due. An overdue attempt waits for a worker or for a parked destination to
    recover; its delay is not shown because it would look like a fault."""
    if (datetime.fromisoformat(text) - clock.now()).total_seconds() > 1:
        return ago(text)
    return "when the destination recovers" if is_parked else "due now"


def delivery_status(status: str) -> str:
    """The label of a delivery's status; an exhausted delivery is `dead` in the API."""
    return "exhausted" if status == "dead" else status


def health_tag(status: str) -> str:
    """The colour of a destination's health."""
    return "on" if status == "ok" else "warn"


def _span(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def number(value: float | None) -> str:
    """A number with thousands separators."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def pretty(value: Any) -> str:
    """A value as readable JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plural(count: int, noun: str) -> str:
    """`1 day`, `2 days`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def merged(args: MultiDict[str, str], **values: Any) -> str:
    """A query with some values replaced."""
    return urlencode(args.to_dict() | {name: str(value) for name, value in values.items()})


def register(blueprint: Blueprint) -> None:
    """Register these as template filters."""
    for function in (moment, ago, due, delivery_status, health_tag, number, pretty, plural, merged):
        blueprint.add_app_template_filter(function)
