"""What is said of a field: our own sentences, for every error of every model that reads a body."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from flask import Flask
from pydantic import ValidationError

import api.app  # every model is imported with it
from api.http.problems import FieldError
from api.input.field_messages import MESSAGES, PATTERNS, errors_of, message_of
from api.input.unknown_fields import _models_in, closest, refusal
from api.input.validation import Body
from tests.corpus.values import WRONG

FLASK = Flask("unbroken")
API = Path(api.app.__file__).parent
JARGON = re.compile(
    r"Input|Field required|should (be|have|match)|pattern|regex|pydantic|validat|dictionary|"
    r"tag\b|discriminator|instance|urn:|https?://errors|\^|\\|\[\]|NoneType|\bdict\b|\bint\b|\bstr\b"
)
EDGES: tuple[Any, ...] = (
    float("inf"),
    "x" * 51,
    "x" * 70,
    "x" * 101,
    "x" * 3_000,
    0,
    -1,
    2**70,
    "2026-W01",
    "#12",
)


def models() -> list[type[Body]]:
    """Every model of the API."""
    found: list[type[Body]] = [Body]
    for one in found:
        found.extend(one.__subclasses__())
    return [one for one in dict.fromkeys(found[1:]) if one.__module__.startswith("api.")]


MODELS = models()


def bodies(model: type[Any], value: Any, depth: int = 3) -> Iterator[Any]:
    """Objects with a value in place of each field, at every depth."""
    for name, field in model.model_fields.items():
        yield {name: value}
        yield {name: [value]}
        for inner in _models_in(field.annotation) if depth else ():
            for body in bodies(inner, value, depth - 1):
                for tag in (None, *tags(inner)):
                    whole = body if tag is None else {"type": tag} | body
                    yield {name: whole}
                    yield {name: [whole]}


def tags(model: type[Any]) -> tuple[str, ...]:
    field = model.model_fields.get("type")
    literal = field.annotation if field and get_origin(field.annotation) is Literal else None
    return get_args(literal) if literal else ()


def refused(model: type[Body], body: Any) -> list[FieldError]:
    try:
        model.model_validate(body)
    except ValidationError as error:
        with FLASK.app_context():
            return refusal(model, errors_of(error)).errors
    return []


def is_ours(message: str) -> bool:
    """Whether a sentence has the form of ours, which all go on from the field's name."""
    return message.startswith(("must ", "cannot ", "is ", "there is "))


def faults(error: FieldError) -> bool:
    return not is_ours(error.message) or JARGON.search(error.message) is not None


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.__name__)
def test_every_error_of_a_model_is_one_of_our_sentences(model: type[Body]) -> None:
    found: set[tuple[str, str]] = set()
    many: Any = [{"x": 1}] * 2_000
    for value in (*WRONG, *EDGES, many, {"xyzzy": 1}):
        for body in (value, {"xyzzy": value}, *bodies(model, value)):
            for error in refused(model, body):
                found.add((error.code, error.message))
                assert not faults(error), (body, error)
                assert error.message != "cannot be used", (body, error)
                assert not re.search(r"\burn:|\^", error.field)
    assert found


def test_no_sentence_is_of_an_error_that_no_model_makes() -> None:
    made = {
        error.code
        for model in MODELS
        for value in (*WRONG, *EDGES, [{"x": 1}] * 2_000)
        for body in (value, *bodies(model, value))
        for error in refused(model, body)
    }
    assert set(MESSAGES) - made == set()


def test_every_pattern_that_a_field_has_is_said_in_words() -> None:
    used: set[str] = set()
    for model in MODELS:
        used |= set(re.findall(r'"pattern": ?("(?:[^"\\]|\\.)*")', _schema(model)))
    known = {ast.literal_eval(one) for one in used}
    own = {pattern for pattern in known if not pattern.startswith("^[Hh][Tt][Tt][Pp]")}
    assert own <= set(PATTERNS)  # a URL has a sentence of its own


def _schema(model: type[Body]) -> str:
    return json.dumps(model.model_json_schema())


def test_what_the_code_says_of_a_field_goes_on_from_its_name() -> None:
    for path in sorted(API.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "id", "")
            if name not in ("invalid_field", "FieldError", "PydanticCustomError"):
                continue
            text = call.args[-1] if name != "PydanticCustomError" else call.args[1]
            said = _text(text)
            assert said is None or is_ours(said), (path.name, said)


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("time_zone", ("timestamp", "timezone"), "timezone"),
        ("timeZone", ("timestamp", "timezone"), "timezone"),
        ("timestmp", ("timestamp", "timezone"), "timestamp"),
        ("type", ("types", "after"), "types"),
        ("grace", ("name", "grace_periods"), "grace_periods"),
        ("name", ("display_name", "avatar_url"), "display_name"),
        ("pageSize", ("page", "page_size"), "page_size"),
        ("offset", ("page", "page_size"), None),
        ("", ("page",), None),
        ("x" * 64, ("page",), None),
        ("anything", (), None),
    ],
)
def test_the_closest_name_is_the_one_that_was_meant(
    name: str, known: tuple[str, ...], meant: str | None
) -> None:
    assert closest(name, known) == meant


def test_a_type_is_named_where_it_stands() -> None:
    (model,) = [one for one in MODELS if one.__name__ == "NewChallenge"]
    body = {"code": "a", "name": "A", "target": 1}
    for objective, code in (({"type": "x"}, "union_tag_invalid"), ({}, "union_tag_not_found")):
        (error,) = refused(model, body | {"objective": objective})
        assert (error.field, error.code) == ("objective.type", code)


def test_a_sentence_is_known_as_ours_by_its_type_and_not_by_its_words() -> None:
    ours: Any = {"type": "zone", "loc": ("zone",), "msg": "Zones are at home elsewhere"}
    pydantics: Any = {"type": "value_error", "loc": ("zone",), "msg": "must not reach a caller"}
    assert [message_of(one) for one in (ours, pydantics)] == [ours["msg"], "cannot be used"]
