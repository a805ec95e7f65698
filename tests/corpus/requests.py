"""Bad requests, by rule, for any operation that the OpenAPI document describes.

Each field of each body with each wrong value that its schema refuses, each parameter of the query
likewise, bytes that are no JSON, no text, no body; paths and headers of every nasty kind.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from tests.corpus.values import (
    BOOLEANS,
    ENCODINGS,
    HARMLESS_HEADERS,
    HEADERS,
    INTEGERS,
    MOMENTS,
    NO_TEXT,
    SEGMENTS,
    TEXTS,
    TYPES,
    UNREADABLE,
    WRONG,
)

JSON, LINES = "application/json", "application/x-ndjson"


@dataclass(frozen=True)
class Bad:
    """One request that must be refused, or at the least change nothing."""

    method: str
    path: str  # percent-encoded
    query: str = ""
    body: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    names: str = ""  # the field or parameter that a 422 has to name
    may_pass: bool = False  # odd, but not wrong

    def __str__(self) -> str:
        sent = (self.body or b"")[:80]
        return f"{self.method} {self.path}?{self.query[:80]} {sent!r} {dict(self.headers)}"


def text_of(value: Any) -> bytes:
    """JSON in ASCII, which can spell what is no text."""
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Corpus:
    """The bad requests for one operation of a document."""

    document: Mapping[str, Any]
    method: str
    path: str  # its template
    values: Mapping[str, str]  # of the path, of things that exist

    @property
    def operation(self) -> Mapping[str, Any]:
        """As the document describes it."""
        found: Mapping[str, Any] = self.document["paths"][self.path][self.method.lower()]
        return found

    @property
    def here(self) -> str:
        """The path, to things that exist."""
        return self._path({})

    def all(self) -> Iterator[Bad]:
        """Every bad request of this operation."""
        yield from self.paths()
        yield from self.parameters()
        yield from self.heads()
        if self.content:
            yield from self.bodies()
            yield from self.fields()

    def paths(self) -> Iterator[Bad]:
        """A nasty text in place of each value of the path."""
        for name in self.given_in("path"):
            for text in SEGMENTS:
                path = self._path({name["name"]: text})
                yield Bad(
                    self.method, path, self._needed(), self._good(), self._kind, may_pass=True
                )

    def parameters(self) -> Iterator[Bad]:
        """Each parameter of the query with what it cannot be."""
        for one in self.given_in("query"):
            for text in (quote(text, safe="") for text in wrong_texts(one["schema"])):
                yield self._asked(one["name"], text)
            for text in NO_TEXT:
                yield self._asked(one["name"], text)
            yield Bad(self.method, self.here, f"{one['name']}=&{one['name']}", may_pass=True)

    def heads(self) -> Iterator[Bad]:
        """Keys that are none, and headers that must not matter."""
        query = self._needed()
        if self.operation.get("security") != []:
            for head in HEADERS:
                yield Bad(self.method, self.here, query, headers=head)
        if self.method == "GET" or self.content:
            body = None if self.method == "GET" else b"{"
            for head in HARMLESS_HEADERS:
                may_pass = self.method == "GET"
                yield Bad(self.method, self.here, query, body, self._kind, head, may_pass=may_pass)

    def bodies(self) -> Iterator[Bad]:
        """Bytes that are no body of this operation."""
        for text in UNREADABLE:
            yield Bad(self.method, self.here, body=text, content_type=JSON)
        for kind in TYPES:
            yield Bad(self.method, self.here, body=self._good(), content_type=kind)
        for encoding in (*ENCODINGS, "gzip"):
            head = {"Content-Encoding": encoding}
            yield Bad(self.method, self.here, "", self._good(), JSON, head)

    def fields(self) -> Iterator[Bad]:
        """Each field with each value that its schema refuses; each needed one left out."""
        schema = self.schema
        example = {} if self.method == "PATCH" else dict(self.content[JSON].get("example", {}))
        for name, one in schema.get("properties", {}).items():
            for value in wrong_values(one, self.document):
                if LINES in self.content and isinstance(value, list) and value:
                    continue  # its items stand for themselves
                yield self._sent(example | {name: value}, name)
        for name in schema.get("required", []):
            yield self._sent({key: one for key, one in example.items() if key != name}, name)

    # -- parts ---------------------------------------------------------------------------------

    @property
    def content(self) -> Mapping[str, Any]:
        """What its body may be; nothing where it is no JSON (test_calendar_files.py)."""
        found: Mapping[str, Any] = self.operation.get("requestBody", {}).get("content", {})
        return found if JSON in found else {}

    @property
    def schema(self) -> Mapping[str, Any]:
        """Of its JSON body."""
        schema: Mapping[str, Any] = self.content[JSON]["schema"]
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    @property
    def _kind(self) -> str | None:
        return JSON if self.content else None

    def _good(self) -> bytes | None:
        return text_of(self.content[JSON].get("example", {})) if self.content else None

    def given_in(self, where: str) -> list[Mapping[str, Any]]:
        """Its parameters in the path, the query or the head."""
        return [one for one in self.operation.get("parameters", []) if one["in"] == where]

    def _needed(self) -> str:
        return "&".join(
            f"{one['name']}={quote(self.values.get(one['name'], 'x'), safe='')}"
            for one in self.given_in("query")
            if one["required"]
        )

    def _path(self, given: Mapping[str, str]) -> str:
        path = self.path
        for one in self.given_in("path"):
            good = quote(self.values.get(one["name"], one.get("example", "x")), safe="")
            path = path.replace("{" + one["name"] + "}", given.get(one["name"], good))
        return path

    def _asked(self, name: str, text: str) -> Bad:
        return Bad(self.method, self.here, f"{name}={text}", names=name)

    def _sent(self, body: Mapping[str, Any], name: str) -> Bad:
        return Bad(self.method, self.here, "", text_of(body), JSON, names=name)


def wrong_values(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Any]:
    """The values that a schema refuses; text that is none is wrong whatever the schema says."""
    is_whole = "$ref" not in json.dumps(schema)  # the components take long to compile
    whole = dict(schema) if is_whole else {**schema, "components": document["components"]}
    validator = jsonschema_rs.validator_for(whole, validate_formats=True)
    for value in WRONG:
        if not is_text_throughout(value) or not validator.is_valid(value):
            yield value


def is_text_throughout(value: Any) -> bool:
    """Whether a value holds no lone surrogate and no number beyond what a schema can check."""
    match value:
        case str():
            return not any("\ud800" <= one <= "\udfff" for one in value)
        case list():
            return all(map(is_text_throughout, value))
        case dict():
            return all(map(is_text_throughout, (*value, *value.values())))
        case _:
            return True


def wrong_texts(schema: Mapping[str, Any]) -> Iterator[str]:
    """What a parameter of the query cannot be, by its type."""
    kinds = [schema, *schema.get("anyOf", [])]
    if schema.get("type") == "integer":
        yield from INTEGERS
        yield str(schema["maximum"] + 1)
    elif schema.get("type") == "boolean":
        yield from BOOLEANS
    elif any(str(one.get("format", "")).startswith("date") for one in kinds):
        yield from MOMENTS
    elif "enum" in schema or schema.get("format") == "uuid":
        yield from (*TEXTS, "", " ", "x", "ACTIVE ", "'--")
    elif "maxLength" in schema:
        yield from (text for text in TEXTS if len(text) > schema["maxLength"] or "\x00" in text)


# -- at random ---------------------------------------------------------------------------------


def mutated(corpus: Corpus, draw: random.Random) -> Bad:
    """The good request of an operation with something about it changed at random."""
    body, kind = corpus.content.get(JSON, {}).get("example"), None
    sent = None
    if body is not None:
        kind = JSON
        sent = text_of(_changed(json.loads(json.dumps(body)), draw))
        if draw.random() < 0.3:  # most stay JSON, and come further
            sent = _scrambled(sent, draw)
    path = corpus.here
    if draw.random() < 0.3:
        path = _respelled(path, draw)
    query = "&".join(
        f"{one['name']}={quote(str(draw.choice(WRONG)), safe='', errors='replace')}"
        for one in corpus.given_in("query")
        if draw.random() < 0.5
    )
    return Bad(corpus.method, path, query, sent, kind, may_pass=True)


def _changed(value: Any, draw: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or draw.random() < 0.2:
        return draw.choice(WRONG)
    place = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if draw.random() < 0.1:
        del value[place]
    else:
        value[place] = _changed(value[place], draw)
    return value


def _scrambled(text: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(text))
    return draw.choice((
        text[:place],
        text[:place] + bytes([draw.randrange(256)]) + text[place + 1 :],
        text[:place] + draw.randbytes(4) + text[place:],
        text + text,
    ))  # fmt: skip


def _respelled(path: str, draw: random.Random) -> str:
    parts = path.split("/")
    place = draw.randrange(1, len(parts))
    parts[place] = draw.choice((*SEGMENTS, quote(parts[place][::-1]), parts[place].upper(), ""))
    return "/".join(parts)
