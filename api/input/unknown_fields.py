"""Refuse unknown fields and parameters, and suggest the closest known name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from flask import g
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from api.http.problems import FieldError, Problem, invalid
from api.input.field_messages import EXTRA, FIELD_CHARS_MAX, field_error, path_of, shown

UNKNOWN_FIELD = "unknown_field"
NAMED_MAX = 10  # enough to see the mistake; the answer must not repeat a megabyte of names
LISTED_MAX = 20
LOOKED_FOR_MAX = 100  # different names per request; each takes 0.1 ms
_CLOSE = 0.6  # difflib's default: `timestmp` is close to `timestamp`, `offset` to nothing

# No request in the documents has an unknown field or parameter. If one is found, its model gets the
# field, and it is listed here with its source.
#
# One documented rule differs: PATCH /participants/{id} answers 400 `no_fields_to_update` to a body
# that "contained no recognised fields" (Participants API, PATCH, Errors).


def has_unknown(found: Sequence[ErrorDetails]) -> bool:
    """Whether a model found an unknown field."""
    return any(error["type"] == EXTRA for error in found)


def refusal(model: type[BaseModel], found: Sequence[ErrorDetails]) -> Problem:
    """422: the invalid fields and the unknown ones."""
    others = [field_error(error) for error in found if error["type"] != EXTRA]
    extra = [error for error in found if error["type"] == EXTRA]
    named = [_unknown(model, error) for error in extra[:NAMED_MAX]]
    return invalid(*others, *named) if others else unknown(named, len(extra))


def unknown_in(known: Iterable[str], value: Iterable[str]) -> list[FieldError]:
    """The first names in an object that are not known."""
    return _named("field", value, tuple(known))


def unknown(named: Sequence[FieldError], count: int) -> Problem:
    """422 `unknown_field`: the first of `count` unknown names."""
    names = ", ".join(refused_field.field for refused_field in named)
    more = f" and {count - len(named):,} more" if count > len(named) else ""
    return Problem(422, UNKNOWN_FIELD, f"Unknown: {names}{more}", named)


def unknown_parameters(given: Iterable[str], known: Collection[str]) -> Problem | None:
    """422 for unknown names in a query; None if the route knows them all."""
    names = [name for name in dict.fromkeys(given) if name not in known]
    return unknown(_named("parameter", names, tuple(known)), len(names)) if names else None


def _unknown(model: type[BaseModel], found: ErrorDetails) -> FieldError:
    message = _message("field", str(found["loc"][-1]), _known(model, found["loc"]))
    return FieldError(path_of(found), UNKNOWN_FIELD, message)


def _named(noun: str, names: Iterable[str], known: tuple[str, ...]) -> list[FieldError]:
    others = [name for name in names if name not in known][:NAMED_MAX]
    return [FieldError(shown(name), UNKNOWN_FIELD, _message(noun, name, known)) for name in others]


# -- suggestions -----------------------------------------------------------------------------


def _message(noun: str, name: str, known: tuple[str, ...]) -> str:
    close = _meant(name[:FIELD_CHARS_MAX], known)
    if close is not None:
        return f"is not a {noun} of this request: did you mean `{close}`?"
    listed = ", ".join(f"`{field_name}`" for field_name in known[:LISTED_MAX])
    return f"is not a {noun} of this request: it takes {listed or 'none'}"


def _meant(name: str, known: tuple[str, ...]) -> str | None:
    """`closest` for the first names of a request: a batch repeats its mistakes in each item, and
    ten names in a thousand items would take a second."""
    meant: dict[tuple[str, tuple[str, ...]], str | None] = g.setdefault("meant", {})
    key = (name, known)
    if key not in meant and len(meant) < LOOKED_FOR_MAX:
        meant[key] = closest(name, known)
    return meant.get(key)


def closest(name: str, known: tuple[str, ...]) -> str | None:
    """The closest known name to an unknown one; None if none is close. Pure."""
    words, plain = {_plain(field_name): field_name for field_name in known}, _plain(name)
    close = difflib.get_close_matches(plain, words, n=1, cutoff=_CLOSE)
    if close:
        return words[close[0]]
    parts = (
        field_name for field_name in known if plain in field_name.split("_")
    )  # `grace` of `grace_periods`
    return next(parts, None)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _known(model: type[BaseModel], steps: Sequence[int | str]) -> tuple[str, ...]:
    """The fields of the model at the end of a path."""
    here = [model]
    for step in steps[:-1]:
        if isinstance(step, str):  # a field, or the tag of a union's model
            here = _below(here, step) or [
                model_type for model_type in here if _has_tag(model_type, step)
            ]
    return tuple(
        field.alias or name
        for model_type in here
        for name, field in model_type.model_fields.items()
    )


def _below(models: Iterable[type[BaseModel]], name: str) -> list[type[BaseModel]]:
    fields = [model.model_fields[name] for model in models if name in model.model_fields]
    return [inner for field in fields for inner in _models_in(field.annotation)]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    kinds = (model_field.annotation for model_field in model.model_fields.values())
    return any(tag in get_args(kind) for kind in kinds if get_origin(kind) is Literal)
