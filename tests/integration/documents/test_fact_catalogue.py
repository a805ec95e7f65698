"""The catalogue of facts: whole, written down, and true of what is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient

from docs.generate.facts_page import DOCS, files
from models import clock, ids
from models.db import Engine, transaction
from models.delivery.destinations import destination_filters
from models.identity.tenants import Tenant
from tests.calls import make_badge, make_streak, noon, post_award, post_tick
from tests.conftest import BASE, Account
from tests.integration.world import always
from tests.pipeline import Pipeline, forget_deliveries
from tests.receiver import Answer, Receiver
from webhooks import dispatcher, egress, fact_samples, facts, outbox, secrets
from webhooks.attempt import SendOptions
from webhooks.circuit_breaker import FAILURES_MAX
from webhooks.destination_queues import Limits
from webhooks.fact_catalogue import ENTRIES
from webhooks.fact_schemas import Schema
from workers.maintenance.streak_deadlines import Sweep

PAGE = (DOCS / "facts.md").read_text()
DAY = timedelta(days=1)


@dataclass
class Subscriber:
    """A destination that wants everything, and the workers that serve it."""

    pipeline: Pipeline
    receiver: Receiver

    def facts(self, later: timedelta = timedelta(0)) -> list[dict[str, Any]]:
        """Apply and deliver what there is, as if it were so much later; all that has arrived."""
        self.pipeline.drain()
        settings = self.pipeline.settings
        options = SendOptions(
            ring=secrets.ring(settings.secret_keys),
            policy=egress.policy("127.0.0.0/8", True, "*"),
            limits=Limits(idle_seconds=0.0),
            now=lambda: clock.now() + later,
        )
        dispatcher.deliver(self.pipeline.engine, options, lambda: False)
        return [json.loads(request.body) for request in self.receiver.requests]


def _strict(schema: Any) -> Any:
    """The schema, closed: a field that it does not name is an error."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in schema else closed


def _published(kind: str) -> Schema:
    """The schema as it is published."""
    return dict(json.loads((DOCS / "facts" / f"{kind}.schema.json").read_text()))


def _errors(fact: dict[str, Any]) -> list[str]:
    """What is wrong with a fact by the published schema of its type, closed."""
    validator = jsonschema_rs.Draft202012Validator(
        _strict(_published(fact["type"])), validate_formats=True
    )
    return [f"{fact['type']}: {error.message}" for error in validator.iter_errors(fact)]


# -- written down ----------------------------------------------------------------------------


def test_every_type_is_in_the_catalogue_once() -> None:
    assert tuple(entry.kind for entry in ENTRIES) == facts.TYPES


def test_the_committed_files_are_those_of_the_catalogue() -> None:
    stale = [path.name for path, text in files().items() if path.read_text() != text]
    assert stale == [], "they have changed: run `python -m docs.generate.facts_page`"
    known = {path.name for path in files()}
    assert {path.name for path in (DOCS / "facts").iterdir()} <= known


@pytest.mark.parametrize("kind", facts.TYPES)
def test_every_schema_is_a_valid_one_and_open_to_new_fields(kind: str) -> None:
    schema = _published(kind)
    jsonschema_rs.meta.validate(schema)
    assert "additionalProperties" not in json.dumps(schema)
    (example,) = re.findall(rf"^## {re.escape(kind)}$.*?```json\n(.*?)```", PAGE, re.M | re.S)[:1]
    assert jsonschema_rs.is_valid(schema, json.loads(example) | {"added_later": 1})


# -- true of what is sent --------------------------------------------------------------------


@pytest.fixture
def subscriber(pipeline: Pipeline, client: FlaskClient) -> Iterator[Subscriber]:
    """A subscriber of the client's tenant; nobody else's deliveries are left over."""
    forget_deliveries(pipeline.engine)
    with Receiver() as receiver:
        _subscribe(client, receiver, "*")
        yield Subscriber(pipeline, receiver)


def _subscribe(client: FlaskClient, receiver: Receiver, *types: str) -> None:
    body = {"url": receiver.url, "event_types": types}
    assert client.post(f"{BASE}/admin/webhooks", json=body).status_code == 201


def _assert_described(sent: list[dict[str, Any]]) -> None:
    """Valid by the closed schema of its type, and every field stands in the page."""
    assert [error for fact in sent for error in _errors(fact)] == []
    for fact in sent:
        (section,) = re.findall(rf"^## {re.escape(fact['type'])}$(.*?)```", PAGE, re.M | re.S)
        named = set(re.findall(r"^\| `(\w+)`", section, re.M))
        assert fact["payload"].keys() <= named
    (around,) = re.findall(r"^## Around every payload$(.*?)^## ", PAGE, re.M | re.S)
    assert re.findall(r"^\| `(\w+)`", around, re.M) == list(sent[0])


@pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
@pytest.mark.parametrize("metadata", [None, {"source": "app", "nested": [{"a": None}]}])
def test_the_facts_of_ticks_and_awards_are_what_the_catalogue_says(
    client: FlaskClient, subscriber: Subscriber, period: str, metadata: dict[str, Any] | None
) -> None:
    more = {} if metadata is None else {"metadata": metadata}
    make_badge(client, "two", icon_url="https://cdn.example.com/two.png", category="streaks")
    make_badge(client, "plain")
    milestones = [{"count": 1}, {"count": 2, "badge_code": "two"}]
    make_streak(client, period=period, milestones=milestones, grace_periods=1)
    make_streak(client, "held", period=period, reset_on_miss=False)
    for days_ago in (200, 199, 169, 60, 110, 0):  # in no month twice, but for two
        post_tick(client, timestamp=noon(days_ago), **more)
        post_tick(client, timestamp=noon(days_ago), streak_code="held", **more)
    post_award(client, "user_42", badge_code="plain", **more)
    sent = subscriber.facts()
    assert {fact["type"] for fact in sent} == {
        facts.STREAK_RECORDED, facts.STREAK_MILESTONE, facts.BADGE_AWARDED,
    }  # fmt: skip
    outcomes = {fact["payload"].get("outcome") for fact in sent}
    assert outcomes >= {"started", "reset", "held", "backfilled"}
    _assert_described(sent)


@pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
def test_the_facts_without_a_tick_are_what_the_catalogue_says(
    client: FlaskClient, subscriber: Subscriber, account: Account, period: str
) -> None:
    make_streak(client, period=period, grace_periods=1)
    make_streak(client, "held", period=period, reset_on_miss=False)
    post_tick(client)
    post_tick(client, streak_code="held")
    subscriber.facts()
    for days in range(1, 130):  # no period that could be told of is jumped over
        _sweep(subscriber.pipeline.engine, account.live, clock.to_us(clock.now() + days * DAY))
    sent = subscriber.facts(130 * DAY)
    told = [(fact["type"], fact["payload"].get("status")) for fact in sent]
    assert sorted(told, key=str) == [
        (facts.STREAK_AT_RISK, None), (facts.STREAK_AT_RISK, None),
        (facts.STREAK_BROKEN, "broken"), (facts.STREAK_BROKEN, "paused"),
        (facts.STREAK_RECORDED, None), (facts.STREAK_RECORDED, None),
    ]  # fmt: skip
    _assert_described(sent)


def test_a_reminder_that_is_set_for_those_who_have_ticked_already_is_what_the_catalogue_says(
    client: FlaskClient, subscriber: Subscriber, account: Account
) -> None:
    make_streak(client, grace_periods=2)
    post_tick(client)
    post_tick(client, "other")
    subscriber.facts()
    reminder = {"reminder": {"hours_before": 24, "at_most_every_hours": 48}}
    assert client.patch(f"{BASE}/streaks/daily_login", json=reminder).status_code == 200
    tomorrow = clock.now() + DAY
    for days in range(4):
        _sweep(subscriber.pipeline.engine, account.live, clock.to_us(tomorrow + days * DAY))
    sent = subscriber.facts(5 * DAY)
    reminded = [fact for fact in sent if fact["type"] == facts.STREAK_REMINDER_DUE]
    found = sorted((fact["participant_id"], fact["payload"]["period_key"]) for fact in reminded)
    keys = [(tomorrow + days * DAY).date().isoformat() for days in (0, 2)]
    assert found == [(who, key) for who in ("other", "user_42") for key in keys]
    _assert_described(sent)


def _sweep(engine: Engine, tenant: Tenant, now_us: int) -> None:
    """Tell the tenant's facts without a tick as if it were then, and nobody else's."""
    until = [0] * tenant.id + [now_us]
    Sweep(engine, lambda: until, lambda: None).run(60)


def test_the_facts_about_a_destination_are_what_the_catalogue_says(
    client: FlaskClient, subscriber: Subscriber
) -> None:
    make_streak(client)
    with Receiver() as other:
        _subscribe(client, other, "behavior.streak_recorded")
        for answer, later in ((500, 0), (200, 1), (410, 2)):
            other.reply = always(Answer(answer))
            for nth in range(FAILURES_MAX):
                post_tick(client, f"{answer}-{nth}")
            subscriber.facts(later * DAY)
        sent = subscriber.facts(2 * DAY)
    told = [fact["type"] for fact in sent if fact["participant_id"] is None]
    assert told == [
        facts.DESTINATION_FAILING, facts.DESTINATION_RECOVERED, facts.DESTINATION_DISABLED,
    ]  # fmt: skip
    _assert_described(sent)


def test_every_sample_is_what_the_catalogue_says(
    engine: Engine, account: Account, subscriber: Subscriber
) -> None:
    """By the way of the real ones: published, delivered, received."""
    with transaction(engine) as session:
        wanted = destination_filters(session, [account.live.id])
        outbox.publish(session, [_sample(kind, account.live) for kind in facts.TYPES], wanted)
    sent = subscriber.facts()
    assert sorted(fact["type"] for fact in sent) == sorted(facts.TYPES)
    _assert_described(sent)


def _sample(kind: str, tenant: Tenant) -> facts.Fact:
    now_us = clock.now_us()
    fact_id = ids.uuid7(now_us)
    body = fact_samples.body(kind, tenant, now_us, fact_id)
    return facts.Fact(tenant.id, fact_id, None, None, kind, now_us, body)


def test_a_closed_schema_notices_what_is_added_missing_or_of_another_kind() -> None:
    """So that the tests above can fail."""
    tenant = Tenant(1, "acme", "live", True, 0, b"")
    for kind in facts.TYPES:
        fact = json.loads(
            fact_samples.body(kind, tenant, clock.now_us(), ids.uuid7(clock.now_us()))
        )
        assert _errors(fact) == []
        for name in fact.keys() - {"type"}:
            assert _errors({key: value for key, value in fact.items() if key != name}) != []
        payload = fact["payload"]
        for name in payload.keys() - {"metadata"}:
            rest = {key: value for key, value in payload.items() if key != name}
            for changed in (rest, payload | {name: 1.5}, payload | {f"{name}_too": 1}):
                assert _errors(fact | {"payload": changed}) != []
