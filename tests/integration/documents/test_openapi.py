"""The API's description: whole, true, committed, and readable without a network."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from api.cli.main import main
from api.http.problems import CODES, TITLES
from api.openapi.document import text_of
from api.openapi.routes import routes
from settings import Settings
from tests.calls import another_app, client_of, draining
from tests.conftest import Account
from tests.integration.documented import (
    APP,
    DOCUMENT,
    MAKERS,
    OPERATIONS,
    Documented,
    Scene,
    make_world,
    stores_nothing,
)
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P19")

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "docs" / "openapi.json"
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


def test_every_route_is_described() -> None:
    missing = [f"{one.method} {one.path}" for one in routes(APP) if one.operation is None]
    assert missing == [], "give these views a @describe of api/http/describe.py"


def test_the_committed_document_is_the_one_that_is_served() -> None:
    assert COMMITTED.read_text() == text_of(APP), "it has changed: run `make openapi`"


def test_the_command_prints_the_same_bytes() -> None:
    done = CliRunner().invoke(main, ["openapi"])
    assert (done.exit_code, done.stdout) == (0, text_of(APP))


def test_it_is_a_valid_document_with_names_of_its_own() -> None:
    SCHEMA.validate()
    names = [one.name for one in OPERATIONS]
    assert len(names) == len(set(names))
    assert not [name for name in DOCUMENT["components"]["schemas"] if "__" in name]


def test_both_spellings_of_streaks_are_the_same_operations() -> None:
    paths = DOCUMENT["paths"]
    for path in ("/api/v1/gamify/streaks", "/api/v1/gamify/streaks/{code}"):
        other = paths[path.replace("/streaks", "/admin/streaks")]
        for method, operation in paths[path].items():
            assert operation | {"operationId": ""} == other[method] | {"operationId": ""}


def test_it_says_who_may_call_what() -> None:
    security = {one.name: one.operation.get("security") for one in OPERATIONS}
    assert security["record"] is None  # as the whole document says: any key
    assert security["create_streak"] == [{"apiKey": ["admin"]}, {"bearer": ["admin"]}]
    assert security["livez"] == []


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.label)
def test_its_example_works(
    one: Documented,
    settings: Settings,
    account: Account,
    app: Flask,
    pipeline: Pipeline,
    request: pytest.FixtureRequest,
) -> None:
    if stores_nothing(one):
        scene: Scene = request.getfixturevalue("settled")
        response = one.send(scene.client, scene.values)
    else:
        client = client_of(app, account.keys["live"])
        # What makes something is sent to a tenant that has none of it.
        values = {} if makes(one) else make_world(client, pipeline)
        with another_app(settings, wait_seconds=5.0) as waiting, draining(pipeline):
            response = one.send(client_of(waiting, account.keys["live"]), values)
    assert response.status_code < 300, response.text
    assert str(response.status_code) in one.operation["responses"]
    SCHEMA[one.path][one.method].validate_response(response)
    if response.mimetype == "application/json":
        assert_documented_order(response.get_json(), schema_of(one, response.status_code))


def makes(one: Documented) -> bool:
    return one.name.removeprefix("admin_") in MAKERS


def schema_of(one: Documented, status: int) -> dict[str, Any]:
    content = one.operation["responses"][str(status)]["content"]
    return dict(content["application/json"]["schema"])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names."""
    if "$ref" not in schema:
        return schema
    return dict(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])


def fits(value: Any, choice: dict[str, Any]) -> bool:
    """Whether a value is of this choice: an object has its required fields."""
    if isinstance(value, dict):
        return set(choice.get("required", ())) <= set(value) and choice.get("type") != "null"
    return choice.get("type") != "null"


def assert_documented_order(value: Any, schema: dict[str, Any]) -> None:
    """Every object of an answer has the documented fields, in the documented order, no others."""
    schema = resolved(schema)
    if value is not None and "anyOf" in schema:
        choices = [choice for choice in map(resolved, schema["anyOf"]) if fits(value, choice)]
        assert choices
        for choice in choices:
            assert_documented_order(value, choice)
    if isinstance(value, list):
        for item in value:
            assert_documented_order(item, schema.get("items", {}))
    if isinstance(value, dict) and "properties" in schema:
        known = [name for name in schema["properties"] if name in value]
        assert list(value) == known
        for name, inner in value.items():
            assert_documented_order(inner, schema["properties"][name])


# -- the closed list of codes ----------------------------------------------------------------


def raised() -> Iterator[tuple[int, str]]:
    """Every status and code that the sources of the API raise."""
    for path in sorted((ROOT / "api").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                match call.func.id, call.args:
                    case "Problem", [ast.Constant(int(status)), ast.Constant(str(code)), *_]:
                        yield status, code
                    case (("not_found" | "uuid_in_path"), [ast.Constant(str(noun)), *_]):
                        yield 404, f"{noun}_not_found"
                    case "_retry", [ast.Constant(str(code)), *_]:
                        yield 503, code


def test_every_code_that_is_raised_is_listed_with_its_status() -> None:
    found = set(raised())
    assert len(found) > 15
    assert [(status, code) for status, code in found if CODES.get(code, (0,))[0] != status] == []
    assert {status for status, _ in CODES.values()} <= TITLES.keys()


def test_every_listed_code_is_one_that_the_sources_name() -> None:
    sources = "".join(
        path.read_text() for path in (ROOT / "api").rglob("*.py") if path.name != "problems.py"
    )
    raised_codes = {code for _, code in raised()}
    own = {"bad_request", "route_not_found", "method_not_allowed", "internal_error"}
    own |= {"idempotency_conflict", "validation_error", "overloaded", "unavailable"}
    unused = [one for one in CODES if one not in raised_codes | own and f'"{one}"' not in sources]
    assert unused == []


# -- the page --------------------------------------------------------------------------------


class Page(HTMLParser):
    """The ids, links and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src") and value:
                self.links.append(value)


def test_the_page_shows_every_operation_and_code_and_loads_nothing_from_elsewhere(
    app: Flask,
) -> None:
    response = app.test_client().get("/reference")
    page = Page(response.text)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    second = [one for one in OPERATIONS if "/admin/streaks" in one.path]
    first = [one for one in OPERATIONS if one not in second]
    anchors = {one.name for one in first} | {f"code-{code}" for code in CODES}
    assert anchors <= set(page.ids)
    assert all(f"also <code>{one.path}</code>" in response.text for one in second)
    assert len(page.ids) == len(set(page.ids))
    inner = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inner - {"top"} <= set(page.ids)
    assert {link for link in page.links if not link.startswith("#")} == {
        "reference.css",
        "openapi.json",
    }
    assert not {"script", "style", "img", "iframe"} & set(page.elements)
    assert not {name for name in page.attributes if name == "style" or name.startswith("on")}
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "unsafe" not in policy


def test_the_document_page_and_style_are_served_without_a_key(app: Flask) -> None:
    stranger = app.test_client()
    assert stranger.get("/openapi.json").text == text_of(APP)
    assert json.loads(stranger.get("/openapi.json").data)["openapi"] == "3.1.0"
    style = stranger.get("/reference.css")
    assert (style.status_code, style.mimetype) == (200, "text/css")
    assert not re.search(r"url\(|@import", style.text)


def test_its_commands_quote_what_a_shell_would_read(client: FlaskClient) -> None:
    page = client.get("/reference").text
    assert "The mobile team&#39;\\&#39;&#39;s" in page
