"""The query string, parsed strictly: lenient parsing could turn two ids into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import parse_qsl, unquote_to_bytes

from flask import Request
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

from api.http.auth import tolerates_unknown
from api.http.describe import Operation, Parameter
from api.http.problems import FieldError, Problem, invalid, invalid_field
from api.input.unknown_fields import unknown_parameters

_NAME = re.compile(rb"[a-z_]{1,40}")


class Utf8Request(Request):
    """A request with UTF-8 parameters; reading another parameter answers 422 with its name."""

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """The parameters in their order."""
        try:
            text = self.query_string.decode()
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise invalid_field(_culprit(self.query_string), "text", "must be UTF-8") from None
        return ImmutableMultiDict(pairs)


def check(here: Request, operation: Operation) -> None:
    """422 for a parameter that the route does not describe, or that comes twice: the answer would
    not match what was asked for."""
    known = {
        parameter.name: parameter
        for parameter in operation.parameters
        if parameter.where == "query"
    }
    refusal = unknown_parameters(here.args, known) or _repeated(here.args, known)
    if refusal is not None and not tolerates_unknown():
        raise refusal


def _repeated(given: MultiDict[str, str], known: Mapping[str, Parameter]) -> Problem | None:
    names = [name for name, texts in given.lists() if len(texts) > 1]
    once = [
        FieldError(name, "repeated", "must be given once")
        for name in names
        if not known[name].may_repeat
    ]
    return invalid(*once) if once else None


def _culprit(query: bytes) -> str:
    """The name of the first parameter that is not UTF-8; `query` if its name is not known."""
    for part in query.split(b"&"):
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            name = part.partition(b"=")[0]
            return name.decode() if _NAME.fullmatch(name) else "query"
    return "query"
