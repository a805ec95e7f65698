"""Suggestions for paths that do not exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from flask import current_app, request
from werkzeug.routing import Rule

from api.http.request_context import BASE_PATH

_CLOSE = 0.6  # as for fields: `recrd` is close to `record`, `daily_login` is not
_STEPS_MAX, _STEP_CHARS_MAX = 12, 64  # longer than any path here: no suggestion
# As the documents' tables write paths, and as callers do who omit the base path.
_SHORTER = ("", BASE_PATH, BASE_PATH.removesuffix("/gamify"))


def is_known(path: str) -> bool:
    """Whether a path exists exactly as written, with any method."""
    return any(rule.rule == path for rule in current_app.url_map.iter_rules())


def nearest_path() -> str | None:
    """The closest path for the request's method; None if none is close. Candidates differ in
    spelling: a segment of the path, or an omitted base path."""
    found = max(_candidates(request.method, request.path), default=(0.0, ""))
    return found[1] or None


def _candidates(method: str, path: str) -> Iterator[tuple[float, str]]:
    steps = path.strip("/").split("/")
    if len(steps) > _STEPS_MAX or any(len(step) > _STEP_CHARS_MAX for step in steps):
        return
    for rule in current_app.url_map.iter_rules():
        if method not in (rule.methods or ()) or str(rule.endpoint).startswith("dashboard."):
            continue
        for before in _SHORTER:
            whole = [*before.strip("/").split("/"), *steps] if before else steps
            closeness = _closeness(whole, rule)
            if closeness >= _CLOSE:
                yield closeness, _template(rule)


def _closeness(steps: list[str], rule: Rule) -> float:
    """Closeness of the least similar segment: 1 if all are equal, 0 for another path."""
    known = rule.rule.strip("/").split("/")
    if len(known) != len(steps):
        return 0.0
    return min(_likeness(pairs) for pairs in zip(known, steps, strict=True))


def _likeness(pair: Iterable[str]) -> float:
    known, given = pair
    if known.startswith("<"):
        return 0.99 if given else 0.0  # a fixed segment is closer
    return 1.0 if known == given else SequenceMatcher(None, known, given).ratio()


def _template(rule: Rule) -> str:
    """The path with the names of its parameters: no value of the caller is repeated."""
    steps = rule.rule.split("/")
    return "/".join(
        "{" + step[1:-1].rpartition(":")[2] + "}" if step[:1] == "<" else step for step in steps
    )
