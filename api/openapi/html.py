"""The reference page of an OpenAPI document: chapters, tables, types in words, curl commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from api.http.problems import CODES
from api.openapi.common import Json

ANYTHING = "anything"
USUAL_STATUSES = (401, 403, 405, 408, 413, 415)  # listed once, not with every operation


def contents(document: Json) -> Json:
    """The values for the template."""
    reader = _Reader(document["components"])
    operations: dict[str, list[Json]] = {tag["name"]: [] for tag in document["tags"]}
    also = _second_spellings(document)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if (path, method) in also.values():
                continue  # listed with the first path
            shown = reader.operation(method.upper(), path, operation)
            shown["also"] = also.get(operation["operationId"], ("", ""))[0]
            operations[operation["tags"][0]].append(shown)
    return {
        "title": document["info"]["title"],
        "about": prose(document["info"]["description"]),
        "chapters": [
            {
                "name": tag["name"],
                "anchor": tag["name"].lower(),
                "text": tag["description"],
                "operations": operations[tag["name"]],
            }
            for tag in document["tags"]
        ],
        "codes": [
            {"code": code, "status": status, "text": prose(text)}
            for code, (status, text) in CODES.items()
        ],
    }


def _second_spellings(document: Json) -> dict[str, tuple[str, str]]:
    """Operation → the other path and method of the same view."""
    named = {
        operation["operationId"]: (path, method)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    return {
        name.removeprefix("admin_"): where
        for name, where in named.items()
        if name.startswith("admin_") and name.removeprefix("admin_") in named
    }


def prose(text: str) -> Markup:
    """The Markdown that the document uses: paragraphs, lists, `code` and **strong**."""
    made = str(escape(text))
    made = re.sub(r"`([^`]+)`", r"<code>\1</code>", made)
    made = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", made)
    blocks = [block for block in made.split("\n\n") if block.strip()]
    return Markup("".join(f"<p>{block}</p>" for block in blocks))  # noqa: S704 - escaped above


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads a document and resolves its references."""

    components: Mapping[str, Any]

    def operation(self, method: str, path: str, operation: Json) -> Json:
        """One operation for the template."""
        content = operation.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {})
        responses = {
            int(status): self._resolved(response)
            for status, response in operation["responses"].items()
        }
        return {
            "name": operation["operationId"],
            "method": method,
            "path": Markup("<wbr>/").join(path.split("/")),
            "summary": operation["summary"],
            "text": prose(operation["description"]),
            "is_public": operation.get("security") == [],
            "parameters": [
                self._field(
                    parameter["name"],
                    parameter["schema"] | {"description": parameter["description"]},
                    parameter["required"],
                )
                | {"where": parameter["in"]}
                for parameter in operation.get("parameters", [])
            ],
            "fields": list(self._fields(self._resolved(body.get("schema", {})))),
            "other_types": [kind for kind in content if kind != "application/json"],
            "command": command(method, path, operation),
            "answers": [
                self._answer(status, response)
                for status, response in responses.items()
                if status not in USUAL_STATUSES or "application/json" in response["content"]
            ],
            "usual": [status for status in responses if status in USUAL_STATUSES],
        }

    def _answer(self, status: int, response: Json) -> Json:
        kind, content = next(iter(response["content"].items()))
        is_problem = kind == "application/problem+json"
        codes = content["schema"]["properties"]["code"]["enum"] if is_problem else []
        return {
            "status": status,
            "codes": codes,
            "kind": kind,
            "shape": None if is_problem else self.shape(content["schema"]),
        }

    def _fields(self, schema: Json, inside: str = "") -> Iterator[Json]:
        """The fields of a body and of the objects in its lists."""
        required = schema.get("required", [])
        for name, property_schema in schema.get("properties", {}).items():
            if "not" in property_schema:
                continue  # always refused: not a field to send
            yield self._field(inside + name, property_schema, name in required)
            yield from self._fields(self._item(property_schema), f"{inside}{name}[].")

    def _item(self, schema: Json) -> Json:
        """The first object type that a list accepts."""
        items = self._resolved(schema).get("items", {})
        return self._resolved(next(iter(items.get("anyOf", [])), items))

    def _field(self, name: str, schema: Json, is_required: bool) -> Json:
        return {
            "name": name,
            "type": self.type_of(schema),
            "limits": ", ".join(self._limits(schema)),
            "text": prose(schema.get("description", "")),
            "is_required": is_required,
        }

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            _, _, group, name = schema["$ref"].split("/")
            schema = self.components[group][name]
        return schema

    def type_of(self, schema: Json) -> str:
        """A value's type in words: `list of object`, `text or null`."""
        schema = self._resolved(schema)
        match schema:
            case {"anyOf": choices}:
                said = dict.fromkeys(self.type_of(choice) for choice in choices)
                return " or ".join(text for text in said if text != ANYTHING)
            case {"enum": values}:
                return " | ".join(map(str, values))
            case {"const": value}:
                return json.dumps(value)
            case {"type": "array", "items": items}:
                return f"list of {self.type_of(items)}"
            case {"type": "string"}:
                return _TEXTS.get(str(schema.get("format")), "text")
            case {"type": kind}:
                return _KINDS.get(str(kind), str(kind))
            case _:
                return ANYTHING

    def _limits(self, schema: Json) -> Iterator[str]:
        schema = self._resolved(schema)
        for choice in schema.get("anyOf", []):
            yield from self._limits(choice)
        for low, high, unit in _LIMITS:
            if low in schema or high in schema:
                yield _between(schema.get(low), schema.get(high)) + unit
        if "default" in schema and schema["default"] is not None:
            yield f"default {json.dumps(schema['default'])}"

    def shape(self, schema: Json, indent: str = "") -> str:
        """A value's shape: JSON with types in place of values."""
        schema, inner = self._resolved(schema), indent + "  "
        match schema:
            case {"anyOf": [first, {"type": "null"}]} if self._has_members(first):
                return f"{self.shape(first, indent)} or null"
            case {"type": "object", "properties": properties}:
                lines = [
                    f'{inner}"{name}": {self.shape(property_schema, inner)}'
                    for name, property_schema in properties.items()
                ]
                return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
            case {"type": "array", "items": items} if self._has_members(items):
                return f"[{self.shape(items, indent)}, …]"
            case _:
                return self.type_of(schema)

    def _has_members(self, schema: Json) -> bool:
        return "properties" in self._resolved(schema)


_TEXTS = {"date-time": "instant", "date": "date", "uuid": "UUID", "uri": "URL"}
_KINDS = {"integer": "whole number", "boolean": "true or false", "null": "null"}
_LIMITS = (
    ("minLength", "maxLength", " characters"),
    ("minimum", "maximum", ""),
    ("minItems", "maxItems", " items"),
)


def _between(low: int | None, high: int | None) -> str:
    if low is None:
        return f"at most {high:,}"
    return f"at least {low:,}" if high is None else f"{low:,}–{high:,}"


def command(method: str, path: str, operation: Json) -> str:
    """A curl command for a shell with $UNBROKEN and $KEY set."""
    parts = [
        f"curl -X {method}" if method != "GET" else "curl",
        f'"$UNBROKEN{_sent(path, operation)}"',
    ]
    if operation.get("security") != []:
        parts.append('-H "X-API-Key: $KEY"')
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        parts.append('-H "Content-Type: application/json"')
        example = json.dumps(content["application/json"].get("example", {}), indent=2)
        parts.append("-d '" + example.replace("'", "'\\''") + "'")
    elif content:
        parts += [f'-H "Content-Type: {kind}"' for kind in content]
        parts.append("--data-binary @FILE")
    first = " ".join(parts[:2])
    return " \\\n  ".join([first, *parts[2:]])


def _sent(path: str, operation: Json) -> str:
    """The path with example values and the required query parameters."""
    query = []
    for parameter in operation.get("parameters", []):
        value = str(parameter.get("example", "…"))
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", value)
        elif parameter["in"] == "query" and parameter["required"]:
            query.append(f"{parameter['name']}={value}")
    return path + ("?" + "&".join(query) if query else "")
