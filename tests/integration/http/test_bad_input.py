"""Bad input: the right 4xx, the field named, the input not echoed, nothing stored, never a 5xx."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine
from tests.calls import (
    assert_nothing_stored,
    draining,
    entries,
    make_streak,
    noon,
    post_json,
    post_tick,
    problem,
    tick,
)
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

RECORD = f"{BASE}/streaks/record"
BATCH = f"{RECORD}/batch"
STREAKS = f"{BASE}/streaks"
MARK = "MARK7f3a"  # must never come back
MEGABYTE = 1_000_000


@pytest.fixture
def refusing(
    client: FlaskClient, account: Account, engine: Engine, redis_client: redis.Redis
) -> Iterator[FlaskClient]:
    """A client whose every request must leave nothing behind."""
    make_streak(client)
    yield client
    assert_nothing_stored(redis_client, engine, account.live)


def refused(response: TestResponse, status: int, code: str, *fields: str) -> None:
    problem(response, status, code, *fields)
    assert MARK not in response.text
    assert len(response.data) < 2_000


# -- instants --------------------------------------------------------------------------------

BAD_TIMESTAMPS: list[Any] = [
    "", " ", "now", "today", MARK, "2026", "2026-05", "2026-05-23", "20260523T081500Z",
    "2026-05-23T08:15:00", "2026-05-23 08:15:00", "2026-05-23T08:15Z", "2026-05-23T08Z",
    "2026-05-23T08:15:00+0000", "2026-05-23T08:15:00+00", "2026-05-23T08:15:00 Z",
    "2026-05-23T08:15:00 +00:00", "2026-05-23T08:15:00UTC", "2026-05-23T08:15:00Z[UTC]",
    "2026-05-23T08:15:00+24:00", "2026-05-23T08:15:00+99:99", "2026-05-23T08:15:00+01:60",
    "2026-05-23T08:15:00+1:00", "2026-05-23T08:15:00\u221201:00", "2026-05-23T08:15:00ZZ",
    "2026-05-23T08:15:00.Z", "2026-05-23T08:15:00,5Z", "2026-05-23T08:15:00.1234567890Z",
    "2026-05-23T08:15:00.1 Z", "2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-00-10T00:00:00Z", "2026-05-00T00:00:00Z",
    "2026-05-23T24:00:00Z", "2026-05-23T25:00:00Z", "2026-05-23T08:60:00Z",
    "2016-12-31T23:59:60Z", "2026-05-23T08:15:61Z", "2026-W21-6T00:00:00Z",
    "2026-143T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    "+12026-05-23T08:15:00Z", "-2026-05-23T08:15:00Z", "26-05-23T08:15:00Z",
    "２０２６-05-23T08:15:00Z", "2026-05-23T08:15:00Z\n", "\n2026-05-23T08:15:00Z",
    "2026-05-23T08:15:00Z\x00", "2026-05-23\u202808:15:00Z", "\ud800", "2026-05-23T08:15:00Z" * 999,
    1_779_523_200, 1_779_523_200_000, 1_779_523_200.5, -1, 0, True, False, [], {}, ["x"],
    "1779523200", 10**30, 1e308,
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_TIMESTAMPS)
def test_it_refuses_what_is_no_instant(refusing: FlaskClient, value: Any) -> None:
    refused(post_tick(refusing, timestamp=value), 422, "validation_error", "timestamp")


def ahead(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


TOO_FAR = [
    {"hours": 15}, {"days": 1}, {"days": -401},  # from when the test runs
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-23:59",
]  # fmt: skip


@pytest.mark.parametrize("value", TOO_FAR, ids=str)
def test_it_refuses_an_instant_that_is_too_far(refusing: FlaskClient, value: Any) -> None:
    text = ahead(**value) if isinstance(value, dict) else value
    refused(post_tick(refusing, timestamp=text), 422, "timestamp_out_of_range", "timestamp")


DAY = noon(2)[:10]
GOOD_TIMESTAMPS = [
    (f"{DAY}T00:00:00Z", DAY), (f"{DAY}T23:59:59.999999999Z", DAY), (f"{DAY}t08:15:00z", DAY),
    (f"{DAY} 08:15:00Z", DAY), (f"{DAY}T08:15:00-00:00", DAY), (f"{DAY}T08:15:00+00:00", DAY),
    *((f"{DAY}T08:15:00.{'123456789'[:digits]}Z", DAY) for digits in range(1, 10)),
    (f"{noon(1)[:10]}T13:59:59+14:00", DAY), (f"{noon(1)[:10]}T14:00:00+14:00", noon(1)[:10]),
    (f"{DAY}T09:59:59-14:00", DAY), (f"{DAY}T10:00:00-14:00", noon(1)[:10]),
    (f"{DAY}T05:44:59+05:45", noon(3)[:10]), (f"{DAY}T23:59:00+23:59", DAY),
    (ahead(hours=13), ahead(hours=13)[:10]),
    (ahead(days=-399), ahead(days=-399)[:10]),
]  # fmt: skip


def test_it_takes_every_spelling_of_an_instant_that_rfc_3339_has(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    with draining(pipeline):
        for text, day in GOOD_TIMESTAMPS:
            answer = post_tick(client, headers={"Prefer": "wait=10"}, timestamp=text)
            assert answer.status_code == 200, (text, answer.text)
            assert answer.get_json()["period_key"] == day, text
        answer = post_tick(client, headers={"Prefer": "wait=10"}, timestamp=None)
        assert answer.status_code == 200


# -- ids and other fields --------------------------------------------------------------------

BAD_IDS: list[Any] = [
    None, "", "x" * 256, "😀" * 256, "x" * 100_000, "\x00", "a\x00b", "\n", "a\nb", "a\r", "\t",
    "\x1b[0m", "\x7f", "\x85", "\x9f", "\u2028", "a\u2029b", "\ud800", "\udfff", "a\ud83d",
    "\ude00\ud83d", 7, 1.5, True, [], {}, [MARK], {"id": MARK}, 10**400,
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_IDS)
def test_it_refuses_what_is_no_participant_id(refusing: FlaskClient, value: Any) -> None:
    refused(post_tick(refusing, value), 422, "validation_error", "participant_id")


BAD_FIELDS: dict[str, list[Any]] = {
    "streak_code": [
        None, "", "x" * 51, "a b", f"{MARK}/", 7, [], "a\x00", "\ud800",
    ],
    "timezone": [
        "", "utc+1", "+10:00", "EST5EDT4", MARK, "Europe/berlin", " UTC", "UTC\n", "../etc/passwd",
        "/etc/localtime", "localtime", "posixrules", "posix/UTC", "Factory", 7, [], {}, True,
        "x" * 65, "Europe/Berlin\x00", "\ud800",
    ],
    "metadata": [
        MARK, 7, [], [{}], True, {"a": "\x00"}, {"\x00": 1}, {"a": "\ud800"}, {"a": 10**400},
        {"a": -(10**4_000)}, {"a": MARK * 4_000}, {"a": "é" * 8_192},
        {str(nth): nth for nth in range(3_000)},
        json.loads('{"a":' * 21 + "1" + "}" * 21), {"a": json.loads("[" * 20 + "]" * 20)},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in BAD_FIELDS for value in BAD_FIELDS[field]]
)
def test_it_refuses_a_field_that_cannot_be_used(
    refusing: FlaskClient, field: str, value: Any
) -> None:
    response = post_tick(refusing, **{field: value})
    refused(response, 422, "validation_error", field)


GOOD_METADATA: list[Any] = [
    {}, {"a": None}, {"": ""}, {"a": 10**300, "b": 1.7e308, "c": -0.0, "d": 5e-324},
    {"a": "x" * (16 * 1024 - 8)}, json.loads('{"a":' * 20 + "1" + "}" * 20),
    {"a": json.loads("[" * 19 + "]" * 19)}, {"a\\tb": '"\\\n\r\t\u2028\x7f'},
    {"😀": "\ufffe\U0010ffff"},
]  # fmt: skip


def test_it_takes_free_form_json_up_to_its_bounds(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    for value in GOOD_METADATA:
        assert post_tick(client, metadata=value).status_code == 202
    pipeline.drain()


@pytest.mark.parametrize("zone", ["UTC", "Etc/GMT+12", "Pacific/Kiritimati", "US/Pacific", "EST"])
def test_it_takes_every_name_of_the_time_zone_database(
    client: FlaskClient, pipeline: Pipeline, zone: str
) -> None:
    make_streak(client)
    assert post_tick(client, timezone=zone).status_code == 202
    pipeline.drain()


@pytest.mark.parametrize("body", [None, [], "x", 7, 1.5, True, [tick()], [[]]])
def test_it_refuses_a_body_that_is_no_object(refusing: FlaskClient, body: Any) -> None:
    for url in (RECORD, STREAKS):
        refused(post_json(refusing, url, body), 422, "validation_error", "body")


def test_it_names_every_bad_field_at_once(refusing: FlaskClient) -> None:
    body = {"streak_code": "", "timestamp": MARK, "timezone": MARK, "metadata": MARK}
    names = ("participant_id", "streak_code", "timestamp", "timezone", "metadata")
    refused(post_json(refusing, RECORD, body), 422, "validation_error", *names)


# -- JSON ------------------------------------------------------------------------------------

GOOD = json.dumps(tick()).encode()
UNREADABLE: list[bytes] = [
    b"", b" ", b"{", GOOD[:-1], GOOD + b"}", GOOD + GOOD,
    b"\xef\xbb\xbf" + GOOD, b"\x00", GOOD + b"\x00",
    GOOD.decode().encode("utf-16"), GOOD.decode().encode("utf-32"),
    b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xc0\xaf"}', b'{"a":"\xe9"}', b'{"a":NaN}',
    b'{"a":Infinity}', b'{"a":-Infinity}', b"NaN",
    b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":0x1}',
    b'{"a":1_000}', b"{'a':1}", b"{a:1}",
    b'{"a":1,}', b"[1,]", b'{"a":"\n"}', b'{"a":"\x00"}',
    b'{"a":"\\x41"}', b'{"a":"\\u12"}', b"// no\n{}",
    b"{}{}", b'{"a" 1}', b"undefined", b"True", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000,
    b'{"\\ud800":1}', b'{"a":{"\\udc00":1}}', MARK.encode(),
    b"participant_id=user_42&streak_code=daily",
]  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE, ids=range(len(UNREADABLE)))
def test_it_refuses_what_is_no_json(refusing: FlaskClient, text: bytes) -> None:
    for url in (RECORD, BATCH, STREAKS):
        response = refusing.post(url, data=text, content_type="application/json")
        refused(response, 400, "invalid_json")


@pytest.mark.parametrize(
    "text",
    [
        b'{"metadata":{"a":1e999}}',
        b'{"metadata":{"a":[-1e400]}}',
        b'{"metadata":{"a":' + b"9" * 4_000 + b"}}",
        b'{"metadata":' + b'{"a":' * 150 + b"1" + b"}" * 151,
        b'{"metadata":' + b'{"a":' * 400 + b"1" + b"}" * 401,
    ],
)
def test_it_names_metadata_that_no_reader_could_give_back(
    refusing: FlaskClient, text: bytes
) -> None:
    whole = GOOD[:-1] + b"," + text[1:]
    response = refusing.post(RECORD, data=whole, content_type="application/json")
    refused(response, 422, "validation_error", "metadata")


def test_it_takes_the_last_of_a_name_given_twice(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    text = b'{"participant_id":7,"participant_id":"user_42","streak_code":"daily_login"}'
    assert client.post(RECORD, data=text, content_type="application/json").status_code == 202
    pipeline.drain()
    found = client.get(f"{BASE}/participants/user_42/streaks").get_json()
    assert len(found["streaks"]) == 1


def test_it_names_an_unknown_field_however_deep_and_wide_it_is(refusing: FlaskClient) -> None:
    wide = json.dumps({f"k{nth}": nth for nth in range(40_000)})
    for odd in ("[" * 150 + "]" * 150, wide, '"' + "x" * 900_000 + '"', '"\\ud800"'):
        text = GOOD[:-1] + b',"other":' + odd.encode() + b"}"
        response = refusing.post(RECORD, data=text, content_type="application/json")
        refused(response, 422, "unknown_field", "other")


# -- sizes, encodings and types --------------------------------------------------------------


def padded(size: int) -> bytes:
    """A good tick in a body of exactly so many bytes."""
    return GOOD + b" " * (size - len(GOOD))


def test_it_takes_a_body_of_one_megabyte_and_not_a_byte_more(
    client: FlaskClient, account: Account, redis_client: redis.Redis, pipeline: Pipeline
) -> None:
    make_streak(client)
    for url in (RECORD, BATCH, STREAKS):
        big = client.post(url, data=padded(MEGABYTE + 1), content_type="application/json")
        refused(big, 413, "body_too_large")
    assert entries(redis_client, account.live) == 0
    good = client.post(RECORD, data=padded(MEGABYTE), content_type="application/json")
    assert good.status_code == 202
    pipeline.drain()


def post_encoded(client: FlaskClient, text: bytes, encoding: str = "gzip") -> TestResponse:
    headers = {"Content-Encoding": encoding}
    return client.post(RECORD, data=text, content_type="application/json", headers=headers)


@pytest.mark.parametrize(
    ("size", "status"), [(len(GOOD), 202), (MEGABYTE, 202), (MEGABYTE + 1, 413)]
)
def test_it_bounds_a_body_after_inflating_it(
    client: FlaskClient, pipeline: Pipeline, size: int, status: int
) -> None:
    make_streak(client)
    for encoding in ("gzip", "GZIP", " gzip "):
        response = post_encoded(client, gzip.compress(padded(size)), encoding)
        assert response.status_code == status, response.text
    pipeline.drain()


def bomb(megabytes: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join(squeeze.compress(bytes(MEGABYTE)) for _ in range(megabytes)) + squeeze.flush()


def test_it_inflates_no_bomb(refusing: FlaskClient) -> None:
    refused(post_encoded(refusing, bomb(200)), 413, "body_too_large")
    refused(post_encoded(refusing, gzip.compress(bomb(50))), 400, "invalid_json")


def test_it_refuses_a_compressed_body_that_is_itself_too_large(refusing: FlaskClient) -> None:
    noise = gzip.compress(padded(len(GOOD))) + bytes(MEGABYTE)
    refused(post_encoded(refusing, noise), 413, "body_too_large")


SQUEEZED = gzip.compress(GOOD, mtime=0)  # the same in every run: it names a test


@pytest.mark.parametrize(
    "text",
    [
        b"", GOOD, SQUEEZED[:-1], SQUEEZED[:12], SQUEEZED[:-8] + bytes(8), SQUEEZED + b"x",
        SQUEEZED + SQUEEZED, zlib.compress(GOOD), b"\x1f\x8b", b"\x1f\x8b\x09" + SQUEEZED[3:],
    ],
)  # fmt: skip
def test_it_refuses_a_body_that_is_no_whole_gzip(refusing: FlaskClient, text: bytes) -> None:
    refused(post_encoded(refusing, text), 400, "invalid_encoding")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x", MARK])
def test_it_refuses_other_encodings(refusing: FlaskClient, encoding: str) -> None:
    refused(post_encoded(refusing, SQUEEZED, encoding), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind",
    [
        None, "", "text/plain", "application/x-www-form-urlencoded", "application/xml",
        "multipart/form-data; boundary=x", "application/jsonp", "application/json-seq", "json",
        "*/*", MARK, "application/octet-stream", "text/json",
    ],
)  # fmt: skip
def test_it_refuses_other_types(refusing: FlaskClient, kind: str | None) -> None:
    for url in (RECORD, BATCH, STREAKS):
        refused(refusing.post(url, data=GOOD, content_type=kind), 415, "unsupported_media_type")


def test_it_refuses_lines_where_one_object_is_meant(refusing: FlaskClient) -> None:
    for url in (RECORD, STREAKS):
        response = refusing.post(url, data=GOOD, content_type="application/x-ndjson")
        refused(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;"]
)
def test_it_takes_json_with_parameters(client: FlaskClient, pipeline: Pipeline, kind: str) -> None:
    make_streak(client)
    assert client.post(RECORD, data=GOOD, content_type=kind).status_code == 202
    pipeline.drain()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_it_refuses_other_methods(refusing: FlaskClient, method: str) -> None:
    response = refusing.open(BATCH, method=method, data=GOOD, content_type="application/json")
    refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_it_answers_options_with_the_methods_there_are(client: FlaskClient) -> None:
    response = client.options(BATCH)
    assert response.status_code == 200
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "99999999999999999999"])
def test_it_survives_a_content_length_that_is_wrong(refusing: FlaskClient, length: str) -> None:
    response = refusing.post(
        RECORD,
        data=b"",
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": length},
    )
    assert 400 <= response.status_code < 500
    problem(response, response.status_code, response.get_json()["code"])
