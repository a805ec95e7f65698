"""The OpenAPI 3.1 document, built from the routes, their descriptions and the validating models.

It is built on first use; no other route needs it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from api.http.describe import Operation, Parameter
from api.http.problems import CODES, TITLES
from api.openapi.common import (
    ABOUT,
    ANY_ID,
    FIELD_ERROR,
    HEADERS,
    PATH_PARAMETERS,
    PROBLEM,
    RELEASED_NAMES,
    SCHEMAS,
    VERSION,
    Json,
)
from api.openapi.routes import CHAPTER_TEXTS, Route, routes

NDJSON = "application/x-ndjson"


def text_of(app: Flask) -> str:
    """The document as it is served, printed and committed: always the same bytes."""
    return json.dumps(document(app), indent=1, ensure_ascii=False) + "\n"


def document(app: Flask) -> Json:
    """The whole document, without routes that have no description."""
    described = [(route, route.operation) for route in routes(app) if route.operation]
    schemas, definitions = _schemas([operation for _, operation in described])
    definitions |= {"Problem": PROBLEM, "FieldError": FIELD_ERROR}
    _loosen_changes(described, definitions)
    _loosen_batches(described, definitions)
    maker = _Maker(schemas, {})
    paths: dict[str, Json] = {}
    for route, operation in described:
        entry = paths.setdefault(route.path, {})
        entry[route.method.lower()] = maker.operation(route, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Unbroken",
            "version": VERSION,
            "summary": "Streaks, badges and points",
            "description": ABOUT,
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}, {"bearer": []}],
        "tags": [
            {"name": name, "description": CHAPTER_TEXTS.get(name, "")}
            for name in dict.fromkeys(route.chapter for route, _ in described)
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "headers": {
                name: {"schema": schema, "description": text}
                for name, (schema, text) in HEADERS.items()
            },
            "responses": dict(sorted(maker.refusals.items())),
            "schemas": dict(sorted(definitions.items())),
        },
    }


# -- schemas ---------------------------------------------------------------------------------


class _Generator(GenerateJsonSchema):
    """Schemas have their released names; a property's title would only repeat its name."""

    def normalize_name(self, name: str) -> str:
        name = super().normalize_name(name)
        return RELEASED_NAMES.get(name, name)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schemas(operations: Sequence[Operation]) -> tuple[dict[Any, Json], dict[str, Json]]:
    """The schema of every body and answer, and the shared definitions."""
    bodies = [(operation.body, "validation") for operation in operations if operation.body]
    answers = [
        (kind, "serialization") for operation in operations for kind in operation.answers.values()
    ]
    kinds = dict.fromkeys([*bodies, *answers])
    inputs: list[Any] = [(kind, mode, TypeAdapter(kind)) for kind, mode in kinds]
    found, rest = TypeAdapter.json_schemas(
        inputs, ref_template=SCHEMAS, schema_generator=_Generator
    )
    definitions: dict[str, Json] = rest.get("$defs", {})
    for name, schema in definitions.items():
        schema["title"] = name  # pydantic's is the class's
    return {kind: schema for (kind, _), schema in found.items()}, definitions


def _name(body: type) -> str:
    return RELEASED_NAMES.get(body.__name__, body.__name__)


def _loosen_changes(
    described: Sequence[tuple[Route, Operation]], definitions: dict[str, Json]
) -> None:
    """A change keeps the fields it omits: no field has a default, and at least one is required."""
    for route, operation in described:
        if route.method == "PATCH" and operation.body:
            schema = definitions[_name(operation.body)]
            schema["minProperties"] = 1
            for property_schema in schema["properties"].values():
                property_schema.pop("default", None)


def _loosen_batches(
    described: Sequence[tuple[Route, Operation]], definitions: dict[str, Json]
) -> None:
    """A batch is accepted even if one of its items is invalid."""
    anything = {"description": "Any other value is refused at its index in `results`."}
    for _, operation in described:
        if operation.body and NDJSON in operation.content_types:
            for property_schema in definitions[_name(operation.body)]["properties"].values():
                property_schema["items"] = {"anyOf": [property_schema["items"], anything]}


# -- operations ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Maker:
    """Writes operations and collects their shared refusals."""

    schemas: Mapping[Any, Json]
    refusals: dict[str, Json]

    def operation(self, route: Route, operation: Operation) -> Json:
        """One operation of the document."""
        made: Json = {
            "operationId": route.name,
            "tags": [route.chapter],
            "summary": operation.summary,
            "description": _description(route),
        }
        if route.is_public:
            made["security"] = []
        elif route.is_for_admins:
            made["security"] = [{"apiKey": ["admin"]}, {"bearer": ["admin"]}]
        if parameters := [*_path_parameters(route), *map(_parameter, operation.parameters)]:
            made["parameters"] = parameters
        if operation.body:
            made["requestBody"] = self._body(operation)
        elif operation.text_body:
            made["requestBody"] = _text_body(*operation.text_body)
        made["responses"] = self._answers(operation) | self._refusals(route, operation)
        return made

    def _body(self, operation: Operation) -> Json:
        content: Json = {}
        for kind in operation.content_types:
            if kind == "application/json":
                content[kind] = {"schema": self.schemas[operation.body]}
                if operation.example is not None:
                    content[kind]["example"] = operation.example
            else:
                text = "One JSON object per line."
                content[kind] = {"schema": {"description": text}}  # not JSON: no type
        return {"required": True, "content": content}

    def _answers(self, operation: Operation) -> Json:
        names = ["X-Request-Id"]
        if 202 in operation.answers:  # it is queued, so caps apply
            names += [name for name in HEADERS if name.startswith("X-RateLimit")]
        if any(parameter.name == "Prefer" for parameter in operation.parameters):
            names.append("Preference-Applied")
        made = {}
        for status, kind in operation.answers.items():
            queued = ["Location"] if status == 202 and "Preference-Applied" in names else []
            later = ["Retry-After"] if status == 503 else []
            made[str(status)] = {
                "description": HTTPStatus(status).phrase,
                "headers": _headers(*names, *queued, *later),
                "content": {operation.answer_type: {"schema": self.schemas[kind]}},
            }
        return made

    def _refusals(self, route: Route, operation: Operation) -> Json:
        by_status: dict[int, list[str]] = {}
        for code in CODES:  # in the order of CODES
            if code in operation.problems or code in _common(route, operation):
                by_status.setdefault(CODES[code][0], []).append(code)
        return {
            str(status): {"$ref": f"#/components/responses/{self._refusal(status, codes)}"}
            for status, codes in by_status.items()
            if status not in operation.answers
        }

    def _refusal(self, status: int, codes: Sequence[str]) -> str:
        """The name of a shared refusal, made from its codes."""
        name = ".".join(codes)
        schema = {
            "allOf": [{"$ref": SCHEMAS.format(model="Problem")}],
            "properties": {"status": {"const": status}, "code": {"enum": list(codes)}},
        }
        headers = {401: ["WWW-Authenticate"], 405: ["Allow"]}.get(status, [])
        if status in (429, 503):
            headers = ["Retry-After"]
        if status == 429:
            headers += [name for name in HEADERS if name.startswith("X-RateLimit")]
        self.refusals[name] = {
            "description": "\n".join(
                [TITLES[status] + ".", *(f"- `{code}`: {CODES[code][1]}" for code in codes)]
            ),
            "headers": _headers("X-Request-Id", *headers),
            "content": {"application/problem+json": {"schema": schema}},
        }
        return name


def _description(route: Route) -> str:
    """The view's docstring without its sources."""
    text = re.sub(r"\s*\((?:contract|seed)[^)]*\)", "", inspect.getdoc(route.view) or "")
    return text + ("\n\nNeeds a key with the `admin` scope." if route.is_for_admins else "")


def _path_parameters(route: Route) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", route.path):
        schema, example, text = PATH_PARAMETERS.get(name, ANY_ID)
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": schema,
            "example": example,
        }


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _common(route: Route, operation: Operation) -> set[str]:
    """The codes that a route's description need not name."""
    codes: set[str] = set()
    if not route.is_public:
        codes |= {"unauthorized", "forbidden", "too_many_failed_keys", "unavailable"}
        codes.add("unknown_field")  # of the query
        if route.method != "GET":
            codes.add("outcome_unknown")
    if route.rule.arguments:
        codes |= {"invalid_path", "route_not_found", "method_not_allowed"}
    if route.method != "GET":  # a route without a body reads the body in order to refuse it
        codes |= {"invalid_json", "invalid_encoding", "body_too_large", "unsupported_media_type"}
        codes |= {"bad_request", "body_too_slow", "overloaded"}
    is_read = route.method == "GET" and not operation.parameters
    if not is_read or "participant_id" in route.rule.arguments:
        codes.add("validation_error")
    if 202 in operation.answers:
        codes.add("overloaded")
    if operation.body and "timestamp" in operation.body.model_fields:
        codes.add("timestamp_out_of_range")
    return codes


def _text_body(kind: str, example: str) -> Json:
    """A body that is no JSON, so that its schema has no type."""
    schema = {"description": "An iCalendar file (RFC 5545)."}
    return {"required": True, "content": {kind: {"schema": schema, "example": example}}}
