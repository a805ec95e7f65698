"""Wrong values, nasty texts, bytes that are nothing: made by hand, for requests that must fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

INSTANTS: tuple[Any, ...] = (
    "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "0000-12-31T00:00:00Z", "+10000-01-01",
    "2016-12-31T23:59:60Z", "2026-05-23T24:00:00Z", "2026-05-23T08:15:00+99:99",
    "2026-05-23T08:15:00-99:99", "2026-02-30T00:00:00Z", "2026-05-23T08:15:00", "now",
    "1779523200", "２０２６-05-23T08:15:00Z", "2026-05-23T08:15:00Z\x00", -1, 0, 1e308,
)  # fmt: skip
WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.5, 10**19, -(10**19), 10**30, 10**400, 1e308, -1e308, 5e-324,
    2**31, 2**63, "", " ", "0", "5", " 5", "+5", "1_000", "１２", "0x10", "NaN", "null", "true",
    "x" * 300, "x" * 6_000, "\x00", "a\x00b",
    "\n", "\x1b[31m", "\x7f", "\u2028", "\ud800", "\udfff\ud800",
    "a\ud83d", "../../etc/passwd", "' OR 1=1 --", "{{7*7}}", "${jndi:ldap://x}", "<script>",
    "javascript:alert(1)", "http://", "http://[::1", "http://a:b@c/", "file:///etc/passwd",
    "http://x/\u2028", "\u202e\u0000", [], [[]], [None], [{}], [7], ["\ud800"], [""], [["x"]], {},
    {"a": {"b": 1}}, {"": ""}, {"\x00": 1}, {"a": "\x00"}, {"a": "\ud800"}, {"a": 10**400},
    {"$gt": ""}, {"__proto__": 1}, json.loads('{"a":' * 30 + "1" + "}" * 30),
    json.loads("[" * 90 + "]" * 90), {str(nth): nth for nth in range(3_000)}, [1] * 2_000,
    *INSTANTS,
)  # fmt: skip
UNREADABLE: tuple[bytes, ...] = (
    b"", b" ", b"{", b"}", b"{}{}", b"null", b"7", b"[]", b'"x"', b"true", b"NaN", b"-Infinity",
    b"undefined", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
    "{}".encode("utf-32"), b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}',
    b'{"a":NaN}', b'{"a":Infinity}', b'{"a":01}', b'{"a":1_000}', b'{"a":0x1}', b'{"a":+1}',
    b'{"a":.5}', b"{'a':1}", b'{"a":1,}', b'{"a" 1}', b'{"a":"\n"}', b'{"a":"\\x41"}',
    b'{"\\ud800":1}', b"// no\n{}", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000,
    b" " * 1_000_001, b"participant_id=user_42", b"<a/>", b"\x1f\x8b\x08", b"----x\r\n",
)  # fmt: skip
INTEGERS = (
    "", " ", "0", "-1", "+5", " 5", "5 ", "1_000", "１２", "٣", "1.0", "1e2", "0x10", "NaN", "inf",
    "9" * 10, "9" * 400, "5;6", "5,6", "null", "true", "x", "\x00", "5\x00", "5\n", "²", "--5",
)  # fmt: skip
BOOLEANS = ("", "1", "0", "yes", "True", "TRUE", "t", "null", "true ", "\x00", "２", "on")
TEXTS = ("\x00", "a\x00b", "x" * 5_000, "x" * 60_000)
MOMENTS = (*map(str, INSTANTS), "", " ", "today", "2026-13-01", "2026-05-32", "2026-5-1")
NO_TEXT = ("%FF", "%C0%AF", "%ED%A0%80", "%F8%88%80%80%80", "a%80", "%E2%82")  # in a URL
SEGMENTS = (
    *NO_TEXT, "%00", "a%00b", "%0A", "%0D%0AX-Evil:%201", "%1B", "%7F", "%C2%85", "%E2%80%A8",
    ".", "..", "%2E%2E", "..%2F..%2Fetc%2Fpasswd", "%2F", "%2F%2F", "a%2Fb", "a//b", "%5C", "%25",
    "%252F", "%", "%G1", "%u0041", ";a=b", "%3F", "%23", "a%20b", "%20", "+", "*", "~", "x" * 256,
    "x" * 5_000, "null", "undefined", "NaN", "-1", "0", "00000000-0000-0000-0000-000000000000",
    "{01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f}", "urn:uuid:01939c7e-6a1b-7c3d-9e4f-0a1b2c3d4e5f",
    "01939c7e6a1b7c3d9e4f0a1b2c3d4e5f", "ffffffff-ffff-ffff-ffff-ffffffffffff", "9" * 30, "evt_",
    "evt_%00", "%E2%80%AE", "%C3%A9", "e%CC%81", "%F0%9F%98%80", "<script>", "%27%20OR%201=1--",
)  # fmt: skip
HEADERS: tuple[Mapping[str, str], ...] = (
    {"X-API-Key": ""}, {"X-API-Key": " "}, {"X-API-Key": "bq_live_"}, {"X-API-Key": "x" * 8_000},
    {"X-API-Key": "\xff\xfe"}, {"X-API-Key": "bq_test_é"},
    {"Authorization": "Bearer \xff"},
    {"Authorization": "Bearer a b"},
)  # fmt: skip
HARMLESS_HEADERS: tuple[Mapping[str, str], ...] = (
    {"X-Request-Id": "a b"}, {"X-Request-Id": "x" * 129}, {"X-Request-Id": "\xff"},
    {"X-Request-Id": "<script>"}, {"Accept": "text/plain"}, {"Accept": ";;;,q=x"},
    {"Accept-Language": "\xff"}, {"X-HTTP-Method-Override": "DELETE"}, {"X-Forwarded-For": "\xff"},
    {"X-Forwarded-Host": "evil"}, {"Cookie": "session=x; \xff=;=;"}, {"Range": "bytes=9-1,x"},
    {"If-Modified-Since": "never"}, {"If-None-Match": '"\xff'}, {"Host": "evil:99999"},
    {"Content-Length": "x"}, {"Expect": "200-ok"}, {"TE": "trailers, \xff"}, {"Origin": "null"},
    {"Prefer": "wait=99999999999999999999"}, {"Prefer": "wait=-1, wait=x,,;"}, {"Prefer": "\xff"},
)  # fmt: skip
TYPES = ("", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json", "*/*",
         "application/x-www-form-urlencoded", "application/jsonp", "\xff/\xff")  # fmt: skip
ENCODINGS = ("br", "deflate", "gzip, gzip", "x", "\xff")

# Different people, whatever a careless reader makes of them.
LOOKALIKES = (
    "a", "A", "a ", " a", "a/b", "a//b", "a/", "/a", "/", "//", "a%2Fb", "a%252Fb", "%", "%25",
    "%FF", "%00", "a?b", "a?participant_id=b", "a#b", "a;b", "a;b=c", "a&b", "a=b", "a+b", "a b",
    "a\u00a0b",
    ".", "..", "./a", "../a", "a/..", "a/../b", "é", "e\u0301", "É", "ﬁ", "fi", "К", "K", "\u212a",
    "ß", "ss", "İ", "i\u0307", "I", "ı", "１", "1", "01", "1.0", "1e0", "ａ", "\u200ba", "a\u200b",
    "a\u202eb", "\u202ea", "\u05d0b", "b\u05d0", "😀", "\U0001f468\u200d\U0001f469", "\ufeffa",
    "null", "None", "undefined", "true", "[]", "{}", '"a"', "'a'", "a\\b", "\\", "a,b", "a|b",
    "a:b", "streaks", "a/streaks",
    "a/streaks/b/history", "a/state", "a/badges", "x" * 255, "y" * 255,
    "😀" * 255, "\ufffd", "\uffff", "%ED%A0%80", "a\u034fb", "ab",
)  # fmt: skip
