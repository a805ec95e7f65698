"""The query of a URL as text: read strictly, since read loosely two ids could become one."""

from __future__ import annotations

import re
from functools import cached_property
from urllib.parse import parse_qsl, unquote_to_bytes

from flask import Request
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

from api.errors import invalid_field

_NAME = re.compile(rb"[a-z_]{1,40}")


class Asked(Request):
    """A request whose parameters are all UTF-8; 422 names the one that is not, once it is read."""

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """The parameters, in their order."""
        try:
            text = self.query_string.decode()
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise invalid_field(_culprit(self.query_string), "text", "must be UTF-8") from None
        return ImmutableMultiDict(pairs)


def _culprit(query: bytes) -> str:
    """The name of the first parameter that is no text; `query` where that is no name of ours."""
    for part in query.split(b"&"):
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            name = part.partition(b"=")[0]
            return name.decode() if _NAME.fullmatch(name) else "query"
    return "query"
