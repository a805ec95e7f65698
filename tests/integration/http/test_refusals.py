"""What is refused says what was wrong with it, and of whom the fault is."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from settings import Settings
from tests.calls import client_of, make_badge, make_streak, problem, tick
from tests.conftest import BASE, Account
from tests.integration.browsing import PATH, Person

RECORD, BATCH = f"{BASE}/streaks/record", f"{BASE}/streaks/record/batch"
GOOD = json.dumps(tick()).encode()
JSON, LINES = "application/json", "application/x-ndjson"


# -- whose fault it is -----------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{BASE}/streaks", f"{BASE}/nothing", "/livez"])
def test_what_fails_while_answering_is_called_our_fault(
    settings: Settings, account: Account, path: str
) -> None:
    app = create_app(settings)
    failures = iter([RuntimeError("boom")])

    @app.after_request
    def fail_once(response: Any) -> Any:
        for failure in failures:
            raise failure
        return response

    response = client_of(app, account.keys["live"]).get(path)
    found = problem(response, 500, "internal_error")
    assert found["detail"] == "The server has a fault: report it with the request_id."
    app.extensions["unbroken"].close()


# -- where one is led after signing in -------------------------------------------------------

ELSEWHERE = [
    "/dashboard/\r\nSet-Cookie: a=b", "/dashboard/\n", "/dashboard/\r", "/dashboard?\x00",
    "/dashboard/\t/evil.example", "/dashboard/\x0b", "/dashboard/\x85", "/dashboard/\u2028x",
    "/dashboard/\\evil.example", "\\\\evil.example", "//evil.example", "///evil.example",
    "/\\evil.example", "/\t/evil.example", "https://evil.example/dashboard", "javascript:alert(1)",
    "/dashboard.evil.example", "/dashboard@evil.example", "dashboard", " /dashboard",
    "/dashboardx", "http:/dashboard", "",
]  # fmt: skip


@pytest.mark.parametrize("to", ELSEWHERE)
def test_signing_in_leads_nowhere_else(nobody: Person, account: Account, to: str) -> None:
    asked = nobody.client.get(f"{PATH}/sign-in", query_string={"next": to})
    assert asked.status_code == 200
    assert f'name="next" value="{PATH}"' in asked.text
    values = {"key": account.keys["live"], "next": to}
    response = nobody.client.post(f"{PATH}/sign-in", data=values)
    assert response.status_code == 303
    assert response.headers["Location"] == PATH
    assert [one for one in response.headers if one[0] == "Set-Cookie" and "a=b" in one[1]] == []


@pytest.mark.parametrize("to", [PATH, f"{PATH}/d/streaks?page=2", f"{PATH}/people/élan%2Fx"])
def test_signing_in_leads_to_the_page_that_was_asked_for(
    nobody: Person, account: Account, to: str
) -> None:
    values = {"key": account.keys["live"], "next": to}
    location = nobody.client.post(f"{PATH}/sign-in", data=values).headers["Location"]
    assert urlsplit(location).netloc == ""
    assert location.startswith(PATH)


# -- which field -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/rewards", {"code": "a", "name": "A"}),
        (
            "/admin/challenges",
            {"code": "a", "name": "A", "target": 1, "objective": {"type": "points"}},
        ),
    ],
)
def test_of_a_window_the_end_that_was_given_is_named(
    client: FlaskClient, path: str, body: dict[str, Any]
) -> None:
    window = {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-02-01T00:00:00Z"}
    made = client.post(BASE + path, json=body | window).get_json()
    late, early = {"starts_at": "2026-03-01T00:00:00Z"}, {"ends_at": "2025-01-01T00:00:00Z"}
    url = f"{BASE}{path}/{made['id']}"
    for change, field in ((late, "starts_at"), (early, "ends_at"), (late | early, "ends_at")):
        problem(client.patch(url, json=change), 422, "validation_error", field)


def test_of_lines_the_body_is_named_and_of_a_list_the_list(client: FlaskClient) -> None:
    lines = client.post(BATCH, data=GOOD + b"\n" + b"{}\n" * 1_000, content_type=LINES)
    (error,) = problem(lines, 422, "validation_error", "body")["errors"]
    assert error["message"] == "must hold 1 to 1,000 lines"
    problem(client.post(BATCH, json={"ticks": []}), 422, "validation_error", "ticks")


def test_a_code_where_an_id_is_meant_is_told_from_an_id_that_is_not_there(
    client: FlaskClient,
) -> None:
    made = make_badge(client)
    found = problem(client.get(f"{BASE}/admin/badges/{made['code']}"), 404, "badge_not_found")
    assert found["detail"] == "Badge 'power_user' not found: its id is a UUID, as it was answered"


# -- bodies in other encodings ---------------------------------------------------------------

ENCODED = [
    (b"\xef\xbb\xbf" + GOOD, "UTF-8 with a byte order mark"),
    (GOOD.decode().encode("utf-16"), "UTF-16"),
    (GOOD.decode().encode("utf-16-le"), "UTF-16"),
    (GOOD.decode().encode("utf-16-be"), "UTF-16"),
    (GOOD.decode().encode("utf-32"), "UTF-32"),
    (GOOD.decode().encode("utf-32-le"), "UTF-32"),
    (GOOD.decode().encode("utf-32-be"), "UTF-32"),
]


@pytest.mark.parametrize(("text", "name"), ENCODED)
@pytest.mark.parametrize(("path", "kind"), [(RECORD, JSON), (BATCH, JSON), (BATCH, LINES)])
@pytest.mark.parametrize("is_squeezed", [False, True])
def test_a_body_in_another_encoding_is_told_which_it_is(
    client: FlaskClient, text: bytes, name: str, path: str, kind: str, is_squeezed: bool
) -> None:
    head = {"Content-Encoding": "gzip"} if is_squeezed else {}
    body = gzip.compress(text) if is_squeezed else text
    response = client.post(path, data=body, content_type=kind, headers=head)
    assert problem(response, 400, "invalid_json")["detail"] == (
        f"The body is {name}: send JSON in UTF-8 without a byte order mark"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty: send JSON"),
        (gzip.compress(GOOD, mtime=0), "is compressed: send Content-Encoding: gzip with it"),
        (b'{"a": 1,\n "b" 2}', "is not valid JSON in UTF-8: see line 2, column 6"),
        (b'{"a":"\xff"}', "is not valid JSON in UTF-8: byte 7 is not UTF-8"),
        (b'{"a":NaN}', "is not valid JSON in UTF-8: it holds NaN"),
        (b'{"\\ud800":1}', "is not valid JSON in UTF-8: a name in it holds a lone surrogate"),
        (b"[" * 100_000, "is not valid JSON in UTF-8: it is nested too deep"),
        (b"9" * 5_000, "is not valid JSON in UTF-8: a number is too long"),
    ],
)
def test_a_body_that_is_no_json_is_told_where(client: FlaskClient, text: bytes, why: str) -> None:
    response = client.post(RECORD, data=text, content_type=JSON)
    assert problem(response, 400, "invalid_json")["detail"] == f"The body {why}"


def test_a_line_that_is_no_json_says_so_of_the_line(client: FlaskClient) -> None:
    make_streak(client)
    response = client.post(BATCH, data=b'{"a":\n' + GOOD, content_type=LINES)
    error = response.get_json()["results"][0]["error"]
    assert error["detail"] == "The line is not valid JSON in UTF-8: see line 1, column 6"


# -- paths -----------------------------------------------------------------------------------


def not_there(response: TestResponse) -> str:
    return str(problem(response, 404, "route_not_found")["detail"])


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("POST", "/streaks/recrd", "/streaks/record"),
        ("POST", "/streaks/Record", "/streaks/record"),
        ("POST", "/streaks/recrd/batch", "/streaks/record/batch"),
        ("POST", "/streaks/record/bacth", "/streaks/record/batch"),
        ("POST", "/badges/awrd", "/badges/award"),
        ("POST", "/points/award_batch", "/points/award-batch"),
        ("POST", "/participant", "/participants"),
        ("POST", "/admin/webhook", "/admin/webhooks"),
        ("POST", "/rewards/x/clam", "/rewards/{reward_id}/claim"),
        ("POST", "/admin/dead-letters/replai", "/admin/dead-letters/replay"),
        ("GET", "/leaderboards/x/rank", None),
        ("GET", "/fact", "/facts"),
        ("GET", "/streaks/x/at_risk", "/streaks/{code}/at-risk"),
        ("GET", "/participants/x/bagdes", "/participants/{participant_id}/badges"),
        ("PATCH", "/admin/badge/x", "/admin/badges/{badge_id}"),
    ],
)
def test_a_path_that_is_mistyped_is_not_there_and_says_which_was_meant(
    client: FlaskClient, method: str, path: str, meant: str | None
) -> None:
    detail = not_there(client.open(BASE + path, method=method, json={}))
    if meant:
        assert detail == f"This path does not exist: did you mean {BASE}{meant}?"


def test_the_base_path_left_out_is_said_to_be(client: FlaskClient) -> None:
    for path in ("/streaks/record", "/gamify/streaks/record"):
        assert not_there(client.post(path, json={})).endswith(f"did you mean {RECORD}?")


def test_a_path_like_no_other_says_where_they_are_listed(client: FlaskClient) -> None:
    assert not_there(client.get(f"{BASE}/xyzzy")).endswith("GET /openapi.json lists all paths.")
    assert "xyzzy" not in not_there(client.get(f"/{'xyzzy/' * 2_000}"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/points/award", "OPTIONS, POST"),
        ("POST", "/streaks/daily_login", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("PUT", "/admin/badges", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/rewards", "GET, HEAD, OPTIONS"),
        ("PUT", "/participants/user_42", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ],
)
def test_a_method_that_a_path_has_not_is_refused_with_those_it_has(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    response = client.open(BASE + path, method=method, json={})
    found = problem(response, 405, "method_not_allowed")
    assert found["detail"] == f"{method} cannot be used here: use one of {allowed}."
    assert response.headers["Allow"] == allowed


def test_every_mistyped_path_of_a_write_is_not_there(app: Flask, client: FlaskClient) -> None:
    """Of each path, each word with a letter less: none is taken for a code or an id."""
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(BASE) or "POST" not in (rule.methods or ()):
            continue
        steps = rule.rule.removeprefix(BASE).split("/")
        last = max(nth for nth, step in enumerate(steps) if not step.startswith("<"))
        steps[last] = steps[last][:2] + steps[last][3:]
        path = BASE + "/".join("x" if step.startswith("<") else step for step in steps)
        assert not_there(client.post(path, json={})).startswith("This path does not exist: did you")
