"""The audit log: one line for each change of an admin or the operator, none for what failed."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient

from api.cli.main import main
from api.openapi.routes import Route, routes
from models import clock
from models.db import Engine, PermissionDenied, reading, tenant_isolation, transaction
from models.identity import tenants
from models.operator import audit_log
from models.operator.audit_log import NO_TENANT, NewAuditEntry
from settings import Settings
from tests.calls import client_of, make_key, make_streak, problem
from tests.conftest import BASE, Account
from tests.integration.documented import APP, MAKERS, OPERATIONS, Documented
from tests.integration.sides import whole_world
from tests.pipeline import Pipeline

pytestmark = pytest.mark.promise("P7")

ROOT = Path(__file__).parents[3]
LOG = f"{BASE}/admin/audit-log"
NOBODY = "01920000-0000-7000-8000-000000000000"

# A pause may be planned before the first tick, and freezes granted; a worker refuses a merge.
MAKES_PARTICIPANTS = {"create_pause", "grant_freezes", "merge_participant"}
CHANGES = [one for one in routes(APP) if one.is_for_admins and one.method != "GET"]
DOCUMENTED = {(one.method, one.path): one for one in OPERATIONS}


def lines(engine: Engine, tenant_id: int) -> list[Any]:
    """A tenant's lines as they are stored, oldest first."""
    statement = sa.text("SELECT * FROM audit_log WHERE tenant_id = :id ORDER BY id")
    with reading(engine) as session:
        return list(session.execute(statement, {"id": tenant_id}))


def documented(route: Route) -> Documented:
    return DOCUMENTED[route.method, route.path]


# -- each change, once -----------------------------------------------------------------------


@pytest.mark.parametrize("route", CHANGES, ids=lambda one: f"{one.method} {one.path}")
def test_it_writes_one_line_for_a_change_and_none_for_what_is_refused(
    route: Route,
    app: Flask,
    client: FlaskClient,
    account: Account,
    engine: Engine,
    pipeline: Pipeline,
) -> None:
    one = documented(route)
    is_maker = one.name.removeprefix("admin_") in MAKERS
    values = {} if is_maker else whole_world(client, pipeline, account.live.id)
    before = lines(engine, account.live.id)
    for response in refused(one, app, client, make_key(engine, account.live), values):
        assert 400 <= response.status_code < 500, response.text
    pipeline.drain()
    assert lines(engine, account.live.id) == before
    asking = client_of(app, account.keys["live"])
    asking.environ_base |= {"HTTP_X_REQUEST_ID": "asked-by-me", "REMOTE_ADDR": "192.0.2.7"}
    done = one.send(asking, values)
    assert done.status_code < 300, done.text
    pipeline.drain()  # a change of a streak is applied like a tick
    [line] = [found for found in lines(engine, account.live.id) if found not in before]
    assert (line.actor, line.key_id) == ("key", key_id(engine, account.keys["live"]))
    assert (line.request_id, line.address) == ("asked-by-me", "192.0.2.7")
    noun, _, verb = line.action.partition(".")
    assert noun and verb


def refused(
    one: Documented, app: Flask, client: FlaskClient, key: str, values: dict[str, str]
) -> Iterator[Any]:
    """The same change by who may not make it, of what does not exist, with no readable body."""
    yield one.send(client_of(app, key), values)
    if "{" in one.path and one.name not in MAKES_PARTICIPANTS:
        yield one.send(client, unknown(values))
    if one.operation.get("requestBody"):
        path = one.path
        for name, value in values.items():
            path = path.replace("{" + name + "}", value)
        yield client.open(path, method=one.method, data="{", content_type="application/json")


def unknown(values: dict[str, str]) -> dict[str, str]:
    shapes = {"fact_id": "evt_" + "0" * 32, "code": "no_such_code"}
    return {name: shapes.get(name, NOBODY) for name in values}


def key_id(engine: Engine, key: str) -> Any:
    with reading(engine) as session:
        found = tenants.find_key(session, key)
    assert found is not None
    return found.id


def test_it_finds_every_route_that_changes_something_for_admins() -> None:
    names = {documented(one).name for one in CHANGES}
    assert names >= {"create_streak", "rotate_secret", "try_webhook", "cancel_replay"}


def test_it_goes_with_the_change_when_that_is_rolled_back(engine: Engine, account: Account) -> None:
    entry = NewAuditEntry(account.live.id, "streak.created", "daily_login")
    with pytest.raises(ZeroDivisionError), transaction(engine) as session:
        audit_log.record(session, entry)
        _ = 1 / 0
    assert lines(engine, account.live.id) == []


# -- what it says ----------------------------------------------------------------------------


def test_it_tells_the_names_of_fields_and_the_values_of_switches_and_numbers_only(
    client: FlaskClient,
) -> None:
    url = "https://user:hunter2@hooks.example/x?token=hunter3"
    made = client.post(
        f"{BASE}/admin/webhooks",
        json={"url": url, "event_types": ["*"], "description": "hunter4", "rate_per_second": 5},
    )
    problem(made, 422, "validation_error", "url")  # no credentials in a URL at all
    url = "http://127.0.0.1:9/x?token=hunter3"
    body = {"url": url, "event_types": ["*"], "description": "hunter4", "rate_per_second": 5}
    made = client.post(f"{BASE}/admin/webhooks", json=body)
    assert made.status_code == 201, made.text
    [line] = client.get(LOG).get_json()["items"]
    assert line["action"] == "webhook.created"
    assert line["target"] == made.get_json()["id"]
    assert line["detail"] == {
        "fields": ["description", "event_types", "rate_per_second", "url"],
        "values": {"rate_per_second": 5},
    }


def test_it_tells_a_deactivation_from_another_change(client: FlaskClient) -> None:
    make_streak(client)
    path = f"{BASE}/streaks/daily_login"
    assert client.patch(path, json={"name": "Daily Visit", "is_active": True}).status_code == 200
    assert client.patch(path, json={"is_active": False}).status_code == 200
    assert client.delete(path).status_code == 200
    found = client.get(LOG).get_json()["items"]
    said = [(one["action"], one["target"]) for one in found]
    assert said == [
        ("streak.deactivated", "daily_login"),
        ("streak.deactivated", "daily_login"),
        ("streak.updated", "daily_login"),
        ("streak.created", "daily_login"),
    ]


def test_it_notes_what_becomes_of_participants_without_a_name(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    for status in (None, "ACTIVE", "SUSPENDED", "SUSPENDED", "CLOSED", "ACTIVE"):
        body = {"external_id": "jane@example.com"} | ({"status": status} if status else {})
        assert client.post("/v1/participants", json=body).status_code in (200, 201)
    assert client.delete(f"{BASE}/participants/jane@example.com").status_code == 200
    problem(client.delete(f"{BASE}/participants/jane@example.com"), 404, "participant_not_found")
    found = lines(engine, account.live.id)
    assert [one.action for one in found] == [
        "participant.suspended",
        "participant.closed",
        "participant.activated",
        "participant.erased",
    ]
    assert not [one for one in found if one.target or one.detail or "jane" in str(one)]


# -- reading it ------------------------------------------------------------------------------


def test_it_is_read_in_pages_newest_first(client: FlaskClient) -> None:
    for nth in range(5):
        make_streak(client, f"number_{nth}")
    seen, query = [], "?limit=2"
    for expected in (2, 2, 1):
        page = client.get(LOG + query).get_json()
        assert len(page["items"]) == expected
        seen += [one["target"] for one in page["items"]]
        query = f"?limit=2&after={page['next_cursor']}"
    assert seen == [f"number_{nth}" for nth in (4, 3, 2, 1, 0)]
    assert page["next_cursor"] is None


def test_it_can_be_narrowed_by_action_target_and_time(client: FlaskClient) -> None:
    make_streak(client, "first")
    make_streak(client, "second")
    client.delete(f"{BASE}/streaks/first")
    found = client.get(LOG).get_json()["items"]

    def targets(**query: str) -> list[str]:
        answered = client.get(LOG, query_string=query)
        return [one["target"] for one in answered.get_json()["items"]]

    assert targets(action="streak.created") == ["second", "first"]
    assert targets(action="streak.created", target="first") == ["first"]
    assert targets(action="nothing.done") == []
    assert targets(since=found[0]["at"])[:1] == ["first"]
    assert targets(until=found[-1]["at"]) == []
    assert targets(since="2099-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("action=x", "action"),
        ("action=" + "a" * 65 + ".b", "action"),
        ("target=", "target"),
        ("target=%00", "target"),
        ("since=yesterday", "since"),
        ("until=10000-01-01T00:00:00Z", "until"),
        ("after=AAAA", "after"),
        ("limit=101", "limit"),
    ],
)
def test_it_refuses_what_it_cannot_look_for(client: FlaskClient, query: str, field: str) -> None:
    problem(client.get(f"{LOG}?{query}"), 422, "validation_error", field)


def test_it_says_where_to_go_on_when_a_page_ends_before_anything_was_found(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_streak(client, "wanted")
    for nth in range(4):
        make_streak(client, f"other_{nth}")
    monkeypatch.setattr(audit_log, "SCANNED_MAX", 2)
    query, pages = "?target=wanted", []
    while query:
        page = client.get(LOG + query).get_json()
        pages.append([one["target"] for one in page["items"]])
        cursor = page["next_cursor"]
        query = cursor and f"?target=wanted&after={cursor}"
    assert pages == [[], [], ["wanted"]]


def test_it_shows_nobody_elses(
    app: Flask, client: FlaskClient, account: Account, make_account: Callable[..., Account]
) -> None:
    make_streak(client)
    strangers = [account.keys["test"], make_account().keys["live"]]
    assert [client_of(app, key).get(LOG).get_json()["items"] for key in strangers] == [[], []]
    assert len(client.get(LOG).get_json()["items"]) == 1


def test_it_cannot_be_rewritten_by_what_serves_requests(
    app: Flask, client: FlaskClient, account: Account
) -> None:
    make_streak(client)
    context = app.extensions["unbroken"]
    for statement in ("UPDATE audit_log SET action = 'x.y'", "DELETE FROM audit_log"):
        with (
            pytest.raises(PermissionDenied, match="permission denied"),
            tenant_isolation.transaction(context.rows, account.live.id) as session,
        ):
            session.execute(sa.text(statement))


# -- the operator's commands -----------------------------------------------------------------


@pytest.fixture
def unbroken(settings: Settings, engine: Engine) -> Callable[..., Any]:
    """Run a command in this process; returns what it printed."""

    def run(*arguments: str, **env: str) -> Any:
        done: Result = CliRunner().invoke(
            main,
            [*arguments, "--json"],
            env={
                "DATABASE_URL": settings.database_url,
                "REDIS_URL": settings.redis_url,
                "UNBROKEN_SECRET_KEYS": settings.secret_keys,
                **env,
            },
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def test_each_command_of_the_operator_writes_one_line_a_side(
    unbroken: Callable[..., Any], redis_client: object, engine: Engine
) -> None:
    slug = f"audited-{clock.now_us()}"
    unbroken("tenant", "create", slug, "--writes-per-minute", "9")
    unbroken("tenant", "set", slug, "--writes-per-minute", "7")
    unbroken("tenant", "disable", slug)
    key = unbroken("key", "create", "--tenant", slug, "--mode", "live", "--expires", "1d")
    unbroken("key", "cap", key["id"], "60")
    unbroken("key", "revoke", key["id"])
    found = unbroken("audit", "--tenant", slug, "--mode", "live")
    assert [(one["action"], one["target"]) for one in found] == [
        ("key.revoked", key["id"]),
        ("key.capped", key["id"]),
        ("key.created", key["id"]),
        ("tenant.changed", slug),
        ("tenant.changed", slug),
        ("tenant.created", slug),
    ]
    assert found[3]["detail"] == {"fields": ["is_enabled"], "values": {"is_enabled": False}}
    assert {(one["actor"], one["key_id"], one["address"]) for one in found} == {
        ("operator", None, None)
    }
    other = unbroken("audit", "--tenant", slug, "--mode", "test")
    assert [one["action"] for one in other] == ["tenant.changed"] * 2 + ["tenant.created"]
    assert key["key"] not in json.dumps(found)


def test_the_operator_sees_what_concerns_no_tenant_and_narrows_it(
    unbroken: Callable[..., Any],
    client: FlaskClient,
    account: Account,
    settings: Settings,
    engine: Engine,
) -> None:
    with transaction(engine) as session:  # other tests' are under keys of their own
        session.execute(sa.text("DELETE FROM webhooks"))
    body = {"url": "http://127.0.0.1:9/x", "event_types": ["*"]}
    assert client.post(f"{BASE}/admin/webhooks", json=body).status_code == 201
    ring = f"{Fernet.generate_key().decode()},{settings.secret_keys}"
    before = len(lines(engine, NO_TENANT))
    unbroken("secrets", "rotate-key", "--dry-run", UNBROKEN_SECRET_KEYS=ring)
    assert len(lines(engine, NO_TENANT)) == before
    for _ in range(2):  # the second one finds nothing to do
        unbroken("secrets", "rotate-key", UNBROKEN_SECRET_KEYS=ring)
    found = unbroken("audit", "--since", "5m", "--limit", "2")
    assert [(one["action"], one["tenant"], one["detail"]) for one in found] == [
        ("secrets.resealed", None, {"destinations": 1}),
        (
            "webhook.created",
            account.slug,
            {"fields": ["event_types", "url"]},
        ),
    ]
    narrowed = unbroken("audit", "--tenant", account.slug, "--action", "webhook.created")
    assert narrowed == found[1:]
    with transaction(engine) as session:
        session.execute(sa.text("DELETE FROM webhooks"))


# -- every action is documented --------------------------------------------------------------


def test_every_action_that_is_noted_is_documented() -> None:
    noted = set(actions())
    assert {"streak.created", "key.revoked", "participant.suspended"} <= noted
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [one for one in sorted(noted) if f"`{one}`" not in text] == []


def actions() -> Iterator[str]:
    """The actions that the sources name: `noun.verb` among the arguments of a note or an act."""
    for path in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name("NewAuditEntry" | "record") | ast.Attribute(attr="record")
                ):
                    yield from (text for text in texts(node.args) if "." in text)
                case ast.Call(func=ast.Name("Managed"), args=[noun, *_]):
                    for text in texts([noun]):
                        yield from (
                            f"{text}.{verb}" for verb in ("created", "updated", "deactivated")
                        )
                case ast.Call(func=ast.Attribute(attr="changed"), args=[noun, _]):
                    for text in texts([noun]):
                        yield from (f"{text}.deactivated", f"{text}.updated")
                case ast.AnnAssign(target=ast.Name("_ACTIONS"), value=ast.Dict(values=values)):
                    yield from texts(values)


def texts(nodes: list[ast.expr]) -> Iterator[str]:
    for one in nodes:
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value
