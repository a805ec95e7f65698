"""Garbage: requests that must each be refused with a 4xx, whatever else goes wrong."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

BASE = "/api/v1/gamify"
RECORD, STREAKS = f"{BASE}/streaks/record", f"{BASE}/streaks"


@dataclass(frozen=True)
class Garbage:
    """One bad request."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {(self.body or b'')[:60]!r} {self.headers}"


_GOOD = {"participant_id": "user_1", "streak_code": "daily"}
_DEEP = "[" * 100_000 + "]" * 100_000

_BODIES: tuple[bytes, ...] = (
    b"", b"{", b"null", b"[]", b"7", b'"text"', b"\xff\xfe{}", b'{"participant_id": "\xff"}',
    b"NaN", b'{"participant_id": NaN}', _DEEP.encode(), b"{" * 50_000, b"\x00" * 100,
    b'{"participant_id": "a", "participant_id": 7}', b'{"a": 1e999}', b"{}" * 10,
    b'{"participant_id": "a", "streak_code": "daily", "timestamp": ' + b"9" * 5_000 + b"}",
    b" " * 1_100_000, b'{"x": "' + b"y" * 1_100_000 + b'"}',
)  # fmt: skip

_FIELDS: tuple[dict[str, Any], ...] = (
    {"participant_id": None}, {"participant_id": ""}, {"participant_id": "x" * 256},
    {"participant_id": "a\x00b"}, {"participant_id": "\ud800"}, {"participant_id": 7},
    {"participant_id": ["a"]}, {"participant_id": {"$gt": ""}}, {"streak_code": None},
    {"streak_code": "x" * 51}, {"streak_code": "unknown"}, {"streak_code": "' OR 1=1 --"},
    {"timestamp": "now"}, {"timestamp": 1}, {"timestamp": "10000-01-01T00:00:00Z"},
    {"timestamp": "0001-01-01T00:00:00+23:59"}, {"timestamp": "2026-02-30T00:00:00Z"},
    {"timestamp": "9999-12-31T23:59:59Z"}, {"timestamp": "1970-01-01T00:00:00Z"},
    {"timezone": "Mars/Olympus"}, {"timezone": "../../etc/passwd"}, {"timezone": "localtime"},
    {"timezone": 1}, {"metadata": []}, {"metadata": {"x": "y" * 20_000}}, {"metadata": 7},
)  # fmt: skip

_PATHS: tuple[tuple[str, str], ...] = (
    ("GET", "/nowhere"), ("GET", f"{BASE}/nowhere"), ("DELETE", RECORD), ("PUT", RECORD),
    ("GET", f"{BASE}/participants/%ff"), ("GET", f"{BASE}/participants/%00"),
    ("GET", f"{BASE}/participants/a%0ab/streaks"), ("GET", f"{BASE}/participants/nobody-of-us"),
    ("GET", f"{BASE}/ticks/7"), ("GET", f"{BASE}/ticks/00000000-0000-0000-0000-000000000000"),
    ("GET", f"{BASE}/awards/{'x' * 500}"), ("GET", f"{STREAKS}?page=0"),
    ("GET", f"{STREAKS}?page=1_000"), ("GET", f"{STREAKS}?page_size=101"),
    ("GET", f"{STREAKS}?page=99999999999999999999"), ("GET", f"{STREAKS}/unknown"),
    ("GET", f"{BASE}/facts?after=garbage"), ("GET", f"{BASE}/facts?limit=-1"),
    ("GET", f"{BASE}/admin/webhooks/7"), ("DELETE", f"{STREAKS}/unknown"),
)  # fmt: skip

_HEADERS: tuple[dict[str, str], ...] = (
    {"Content-Type": "text/plain"}, {"Content-Type": "application/xml"},
    {"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}, {"X-API-Key": "bq_live_x"},
    {"X-API-Key": ""}, {"X-API-Key": "x" * 4_000}, {"Authorization": "Bearer other"},
    {"Idempotency-Key": ""}, {"Idempotency-Key": "x" * 256}, {"Idempotency-Key": "a b"},
)  # fmt: skip

_ADMIN: tuple[tuple[str, Any], ...] = (
    (STREAKS, {}), (STREAKS, {"code": "", "name": "x"}), (STREAKS, {"code": "daily", "name": "x"}),
    (STREAKS, {"code": "z", "name": "x", "grace_periods": -1}),
    (STREAKS, {"code": "z", "name": "x", "grace_periods": 1e400}),
    (STREAKS, {"code": "z", "name": "x", "period": "hourly"}),
    (STREAKS, {"code": "z", "name": "x", "milestones": [{"count": 0}]}),
    (f"{BASE}/admin/badges", {"code": "x" * 51, "name": "x"}),
    (f"{BASE}/admin/badges", {"code": "z", "name": "x", "rarity": "golden"}),
    (f"{BASE}/admin/webhooks", {"url": "file:///etc/passwd", "event_types": ["*"]}),
    (f"{BASE}/admin/webhooks", {"url": "http://169.254.169.254/", "event_types": ["*"]}),
    (f"{BASE}/admin/webhooks", {"url": "http://127.0.0.1:1/", "event_types": ["nothing.*"]}),
    (f"{BASE}/participants", {"participant_id": "a", "avatar_url": "javascript:alert(1)"}),
    (f"{RECORD}/batch", {"ticks": []}), (f"{RECORD}/batch", {"ticks": {}}), (f"{RECORD}/batch", []),
    (f"{RECORD}/batch", {"ticks": [_GOOD] * 1_001}),
)  # fmt: skip


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


REQUESTS: tuple[Garbage, ...] = (
    *(Garbage("POST", RECORD, body) for body in _BODIES),
    *(Garbage("POST", RECORD, _json(_GOOD | fields)) for fields in _FIELDS),
    *(Garbage(method, path) for method, path in _PATHS),
    *(Garbage("POST", RECORD, _json(_GOOD), headers) for headers in _HEADERS),
    *(Garbage("POST", path, _json(body)) for path, body in _ADMIN),
    Garbage("POST", RECORD, gzip.compress(b" " * 30_000_000), {"Content-Encoding": "gzip"}),
)

BAD_ITEMS: tuple[Any, ...] = (
    None, 7, "text", [], {}, {"participant_id": "a"}, {"streak_code": "daily"},
    {"participant_id": "a", "streak_code": "unknown", "badge_code": "unknown"},
    {"participant_id": "\x00", "streak_code": "daily", "badge_code": "brave"},
)  # fmt: skip
