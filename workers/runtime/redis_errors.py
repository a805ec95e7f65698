"""Errors of Redis, classified once: is Redis away for a while, or was the command wrong?"""

from __future__ import annotations

import re

import redis

# Answers of a running server that cannot serve now: it loads, is a replica (during a failover),
# misses replicas, cannot persist, has no memory, or runs a long script.
_AWAY = frozenset(
    {
        "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY",
        "TRYAGAIN", "UNBLOCKED",
    }
)  # fmt: skip
# At the start of an answer; before Redis 7 a script's error quotes the error of its command.
_CODE = re.compile(r"(?:^|@user_script: \d+: -)(?!ERR )([A-Z]+) ")
_OF_PIPELINE = "caused error: "  # redis-py puts the command before it


def is_away(error: BaseException) -> bool:
    """Whether an error means that Redis is down or cannot serve now: a retry may work later."""
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return True
    return isinstance(error, redis.exceptions.ResponseError) and code_of(error) in _AWAY


def code_of(error: redis.exceptions.ResponseError) -> str:
    """The code of a server's answer, such as READONLY; "" when it has none but ERR.

    redis-py (8.1) cuts the codes that it knows off the text.
    """
    if error.status_code and error.status_code != "ERR":
        return error.status_code
    found = _CODE.search(str(error).rpartition(_OF_PIPELINE)[2])
    return found[1] if found else ""


def brief(error: BaseException) -> str:
    """The part of an error for a log: its text may hold user data."""
    code = code_of(error) if isinstance(error, redis.exceptions.ResponseError) else ""
    return code or type(error).__name__
