"""Conversion between form fields and the API's JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

InputKind = Literal[
    "text",
    "long",
    "number",
    "choice",
    "switch",
    "moment",
    "list",
    "lines",
    "json",
    "checks",
    "rows",
]
ROWS_MAX = 50
SPARE_ROWS = 2  # empty ones below those in use


@dataclass(frozen=True, slots=True)
class Input:
    """One field of a form."""

    name: str  # in the body; `criteria_config.min_points` is nested
    label: str
    kind: InputKind = "text"
    help: str = ""
    choices: Sequence[str] = ()
    is_required: bool = False
    is_fixed: bool = False  # shown but not sent for an existing definition
    default: Any = None
    placeholder: str = ""
    empty: Any = None  # sent when a change leaves it empty
    row: Sequence[tuple[str, str]] = ()  # of rows: the number fields of each, with their labels
    section: str = ""  # the heading above it


def body_of(inputs: Sequence[Input], form: Mapping[str, str], *, is_new: bool) -> dict[str, Any]:
    """The body for a form. An empty field is null if it may be, else it is omitted.

    Nested fields (`freezes.max`) are one object; null when all of them are empty.
    """
    body: dict[str, Any] = {}
    for entry in inputs:
        if entry.is_fixed and not is_new:
            continue
        value = _value(entry, form)
        if value is None and (entry.is_required or is_new):
            continue  # the API reports it missing, or has a default
        _put(body, entry.name, entry.empty if value is None else value)
    return body


def _put(body: dict[str, Any], name: str, value: Any) -> None:
    outer, _, inner = name.partition(".")
    if not inner:
        body[outer] = value
    elif value is None:
        body.setdefault(outer, None)
    else:
        body[outer] = body.get(outer) or {}
        _put(body[outer], inner, value)


def _value(entry: Input, form: Mapping[str, str]) -> Any:
    text = form.get(entry.name, "").strip()
    match entry.kind:
        case "checks":
            return [
                name for name in entry.choices if form.get(f"{entry.name}.{name}") == "on"
            ] or None
        case "rows":
            return _rows(entry, form) or None
        case "switch":
            return text == "on"
        case "number":
            return _number(text)
        case "moment":
            return f"{text}:00Z" if text and text.count(":") == 1 else (text and f"{text}Z") or None
        case "list" | "lines":
            return [word for word in text.replace(",", " ").split() if word] or None
        case "json":
            return _json(text)
        case _:
            return text or None


def _rows(entry: Input, form: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows that are not empty; a missing field is left out, and the API names it."""
    rows = []
    for index in range(ROWS_MAX):
        texts = {
            name: form.get(f"{entry.name}.{index}.{name}", "").strip() for name, _ in entry.row
        }
        rows.append({name: _number(text) for name, text in texts.items() if text})
    return [row for row in rows if row]


def row_count(entry: Input, form: Mapping[str, str]) -> int:
    """How many rows to show: those up to the last one in use, and some to fill in."""
    used = [
        index + 1
        for index in range(ROWS_MAX)
        if any(form.get(f"{entry.name}.{index}.{name}") for name, _ in entry.row)
    ]
    return min(max(used, default=0) + SPARE_ROWS, ROWS_MAX)


def _number(text: str) -> int | float | str | None:
    """A number, or the text as typed: the API then names the field."""
    if not text:
        return None
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d{1,15}\.\d{1,9}", text, re.ASCII) else text


def _json(text: str) -> Any:
    if not text:
        return None
    return json.loads(text) if _is_json(text) else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def shown(inputs: Sequence[Input], item: Mapping[str, Any]) -> dict[str, str]:
    """The form values of an existing definition."""
    values: dict[str, str] = {}
    for entry in inputs:
        value = _get(item, entry.name.split("."))
        if entry.kind == "checks":
            values |= {f"{entry.name}.{name}": "on" for name in value}
        elif entry.kind == "rows":
            values |= _shown_rows(entry, value)
        else:
            values[entry.name] = _text(entry, value)
    return values


def _shown_rows(entry: Input, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"{entry.name}.{index}.{name}": str(row[name])
        for index, row in enumerate(rows)
        for name, _ in entry.row
    }


def _get(item: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        item = item.get(step) if isinstance(item, Mapping) else None
    return item


def _text(entry: Input, value: Any) -> str:
    if value is None:
        return ""
    match entry.kind:
        case "switch":
            return "on" if value else ""
        case "moment":
            return datetime.fromisoformat(value).strftime("%Y-%m-%dT%H:%M")
        case "list":
            return " ".join(value)
        case "lines":
            return "\n".join(value)
        case "json":
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


# -- errors ----------------------------------------------------------------------------------


def messages(
    inputs: Sequence[Input], errors: Mapping[str, str], form: Mapping[str, str]
) -> dict[str, str]:
    """The error of each form field in plain words; empty without errors."""
    return {entry.name: _message(entry, errors, form.get(entry.name, "")) for entry in inputs}


def _message(entry: Input, errors: Mapping[str, str], text: str) -> str:
    found = next((field for field in errors if _is_in(field, entry.name)), None)
    if found is None:
        return ""
    if entry.kind == "json" and text.strip() and not _is_json(text):
        return "This is not valid JSON"
    inside = found.removeprefix(entry.name).strip(".")
    where = ", ".join(_step(step) for step in inside.split(".")) + ": " if inside else ""
    return where + errors[found] if where else _sentence(errors[found])


def _is_in(field: str, name: str) -> bool:
    return field == name or field.startswith(f"{name}.")


def _step(step: str) -> str:
    return f"entry {int(step) + 1}" if step.isdecimal() else step


def _sentence(text: str) -> str:
    """The API's messages continue the field's name; this makes one a sentence of its own."""
    return text[:1].upper() + text[1:]


def summary(inputs: Sequence[Input], errors: Mapping[str, str], detail: str) -> str:
    """The summary above a refused form, with its labels instead of API names."""
    labels = [entry.label for entry in inputs if any(_is_in(field, entry.name) for field in errors)]
    others = [
        f"{field}: {text}"
        for field, text in errors.items()
        if not any(_is_in(field, entry.name) for entry in inputs)
    ]
    if not labels:
        return "; ".join(others) or detail
    return "; ".join([f"Nothing was saved. Check: {', '.join(labels)}", *others]) + "."
