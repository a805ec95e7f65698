"""docker-compose.yml: its commands, run as they are written, carry a tick to a verified webhook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml
from cryptography.fernet import Fernet

from api.cli.local.embedded import Urls, embedded
from api.cli.local.proc import wait_until
from api.cli.local.redis import OPTIONS
from api.cli.ports import free_port
from models import db
from settings import variables
from tests.e2e.running import PATIENCE_SECONDS, ROOT, environment, short_folder
from tests.receiver import Receiver
from workers.intake.client import connect

OURS = ("migrate", "api", "drain", "webhooks", "upkeep", "beat", "metrics")
SERVERS = ("postgres", "redis")
WATCHERS = ("prometheus", "grafana")  # of the profile `ops`
PASSWORD = "p@s:/s#w%41?&x"  # in a URL, each of these would mean something else
SECRETS = {"postgres_password": PASSWORD, "secret_keys": Fernet.generate_key().decode()}
DOTENV = {
    # as an operator says it whose receivers are on this machine
    "UNBROKEN_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
    "UNBROKEN_WEBHOOK_ALLOW_HTTP": "1",
    "UNBROKEN_WEBHOOK_PORTS": "*",
}


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """Compose's `${NAME}`, `${NAME:-default}` and `${NAME:?what to do}`."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if operator == "?" and not env.get(name):
            raise KeyError(f"{name}: {rest}")
        return env.get(name) or (rest if operator == "-" else "")

    return re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", value, text)


def written() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services as compose would run them."""
    text = (ROOT / "docker-compose.yml").read_text()
    found: dict[str, dict[str, Any]] = yaml.safe_load(interpolated(text, DOTENV))["services"]
    return found


# -- as it is written --------------------------------------------------------------------------


def test_every_role_is_there_and_nothing_else(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {*OURS, *SERVERS, *WATCHERS}
    assert {name for name, one in services.items() if one.get("profiles")} == {*WATCHERS}


def test_only_the_api_is_public(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, one in services.items() if "ports" in one} == {"api", *WATCHERS}
    assert services["api"]["ports"] == ["8000:8000"]
    assert all(services[name]["ports"][0].startswith("127.0.0.1:") for name in WATCHERS)
    assert all(services[name]["networks"] == ["data"] for name in SERVERS)
    assert written()["networks"]["data"] == {"internal": True}


def test_no_service_is_root_or_writes_beside_its_volumes(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, one in services.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["user"].partition(":")[0] not in ("", "0", "root"), name
        assert not {"privileged", "cap_add", "pid", "network_mode"} & set(one), name
        assert not any("docker.sock" in volume for volume in one.get("volumes", [])), name


def test_every_volume_exists_and_what_is_ours_is_mounted_to_be_read(
    services: dict[str, dict[str, Any]],
) -> None:
    sources = {}
    for one in services.values():
        for volume in one.get("volumes", []):
            source, _, rest = volume.partition(":")
            sources[source] = rest
    folders = {source for source in sources if source.startswith("./")}
    assert folders
    assert set(sources) - folders == set(written()["volumes"])
    for folder in folders:
        assert (ROOT / folder).is_dir(), folder
        assert sources[folder].endswith(":ro"), folder


def test_every_variable_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        assert set(services[name]["environment"]) <= set(variables()), name


def test_prometheus_asks_every_exporter_and_reads_every_rule(
    services: dict[str, dict[str, Any]],
) -> None:
    folder = ROOT / "ops" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    (pattern,) = config["rule_files"]
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["metrics:9464"]}]
    assert config["global"]["scrape_interval"] == "15s"
    for path in set(folder.glob("*.y*ml")) - {folder / "prometheus.yml"}:
        assert Path(f"/etc/prometheus/{path.name}").match(pattern), path
        assert yaml.safe_load(path.read_text())["groups"], path
    arguments = services["prometheus"]["command"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in arguments


def test_grafana_finds_prometheus_and_its_dashboards(services: dict[str, dict[str, Any]]) -> None:
    folder = ROOT / "ops" / "grafana"
    provisioning = folder / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "unbroken.yml").read_text())[
        "providers"
    ]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["./ops/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./ops/grafana/provisioning"] == "/etc/grafana/provisioning"
    for path in folder.rglob("*.json"):
        assert path.parent.name == "dashboards", path
        assert json.loads(path.read_text())["uid"], path


def test_each_role_is_given_the_servers_and_secrets_that_it_needs(
    services: dict[str, dict[str, Any]],
) -> None:
    database = {"DATABASE_URL", "DATABASE_PASSWORD_FILE"}
    both = database | {"REDIS_URL"}
    wanted = {
        "migrate": database,
        "api": both | {"UNBROKEN_SECRET_KEYS_FILE"},
        "drain": both,
        "webhooks": both | {"UNBROKEN_SECRET_KEYS_FILE"},
        "upkeep": both,
        "beat": {"REDIS_URL"},
        "metrics": both,
    }
    assert {name: set(services[name]["environment"]) for name in OURS} == wanted
    for name in OURS:
        files = [value for value in services[name]["environment"].values() if value[0] == "/"]
        given = [f"/run/secrets/{one}" for one in services[name].get("secrets", [])]
        assert sorted(files) == given, name
    assert services["postgres"]["secrets"] == ["postgres_password"]


def test_memory_and_logs_are_bounded_and_redis_is_full_before_it_is_killed(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, one in services.items():
        assert one["mem_limit"], name
        assert one["logging"]["driver"] == "json-file", name
        assert one["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
    flags = services["redis"]["command"]
    assert flags[flags.index("--maxmemory") + 1] == "1gb"
    assert services["redis"]["mem_limit"] == "3g"  # a rewrite of its file takes as much again


def test_the_image_is_built_once(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, one in services.items() if "build" in one] == ["migrate"]


def test_a_migration_that_fails_gives_up(services: dict[str, dict[str, Any]]) -> None:
    assert services["migrate"]["restart"] == "on-failure:3"
    others = {one["restart"] for name, one in services.items() if name != "migrate"}
    assert others == {"unless-stopped"}


def test_redis_keeps_what_it_accepts(services: dict[str, dict[str, Any]]) -> None:
    program, *options = services["redis"]["command"]
    flags = dict(zip(options[::2], options[1::2], strict=True))
    assert program == "redis-server"
    assert flags == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--maxmemory": "1gb",
    }
    del flags["--maxmemory"]  # of the machine, not of the promise
    assert flags.items() <= {f"--{name}": value for name, value in OPTIONS.items()}.items()
    assert services["redis"]["volumes"] == ["redis:/data"]


def test_who_must_wait_waits(services: dict[str, dict[str, Any]]) -> None:
    for name in ("postgres", "redis", "api"):
        check = services[name]["healthcheck"]
        assert check["test"][0] == "CMD", name
        # Until then a failure does not count, and one that starts sooner is healthy at once.
        assert int(check["start_period"].removesuffix("s")) >= 120, name
    # -e: LOADING and NOAUTH are answers, and no health.
    assert services["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "-e", "ping"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in set(OURS) - {"migrate"}:
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }


def test_all_our_roles_are_one_image_without_root(services: dict[str, dict[str, Any]]) -> None:
    assert {services[name]["image"] for name in OURS} == {"unbroken"}
    assert {services[name]["user"] for name in OURS} == {"10001:10001"}
    text = (ROOT / "Dockerfile").read_text()
    # Celery warns of the superuser where the group has no name.
    assert "groupadd --system --gid 10001 unbroken" in text
    assert "useradd --system --uid 10001 --gid 10001" in text
    dockerfile = text.splitlines()
    assert [line for line in dockerfile if line.startswith("USER ")] == ["USER 10001"]
    assert {line for line in dockerfile if line.startswith("FROM ")} == {
        "FROM python:3.11-slim AS build",
        "FROM python:3.11-slim",
    }


def test_the_image_holds_every_module_of_ours() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"api", "workers", "webhooks", "models"}
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= set(allowed)


def test_secrets_are_in_files_of_their_own_and_the_header_says_how_to_make_them() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert written()["secrets"] == {name: {"file": f"./secrets/{name}"} for name in SECRETS}
    for name in SECRETS:
        assert re.search(rf"^#   openssl rand .* > secrets/{name}$", text, re.MULTILINE), name
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"  # and not let in again
    example = (ROOT / ".env.example").read_text()
    assert not re.search(r"PASSWORD|SECRET_KEYS", example)
    assert written()["x-ours"]["env_file"] == ".env"


def test_the_example_names_settings_that_exist() -> None:
    named = re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    of_compose = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert set(named) <= set(variables()) | of_compose
    assert of_compose <= set(named)


def test_each_compose_that_is_here_reads_the_file(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", ".env.example", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    programs = [["docker-compose"], ["docker", "compose"]]  # 1.29, and 2
    here = [one for one in programs if not _fails([*one, "version"], tmp_path)]
    if not here:
        pytest.skip("no compose is installed")
    for one in here:
        assert not _fails([*one, "--profile", "ops", "config", "-q"], tmp_path), one


def _fails(command: list[str], folder: Path) -> str:
    """What a command says when it cannot run or fails; empty when it succeeds."""
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stderr or "failed" if done.returncode else ""


# -- as it runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def urls() -> Iterator[Urls]:
    """Servers in the place of the two containers; both ask for the password."""
    parent = short_folder()
    with embedded(parent / "d") as found:
        _lock(parent / "d", found)
        yield found
    shutil.rmtree(parent)


def _lock(folder: Path, urls: Urls) -> None:
    engine = db.engine(urls.database_url, timeout_ms=5_000, pool=1)
    with db.reading(engine) as session:
        session.exec_driver_sql("ALTER USER unbroken PASSWORD %s", (PASSWORD,))
        (folder / "postgres" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        session.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()
    with closing(connect(urls.redis_url, 5.0)) as client:
        client.config_set("requirepass", PASSWORD)


def environment_of(service: dict[str, Any], urls: Urls, folder: Path) -> dict[str, str]:
    """A service's environment, its hosts and the folder of its secrets being ours."""
    own: dict[str, str] = service["environment"]
    secrets = folder / "-".join(service.get("secrets", ["none"]))
    secrets.mkdir(exist_ok=True)
    for name in service.get("secrets", []):
        (secrets / name).write_text(f"{SECRETS[name]}\n")
    own = {name: value.replace("/run/secrets", str(secrets)) for name, value in own.items()}
    here = {"DATABASE_URL": urls.database_url, "REDIS_URL": urls.redis_url}
    hosts = {name: urlsplit(own[name]).hostname for name in set(own) & set(here)}
    assert hosts.items() <= {"DATABASE_URL": "postgres", "REDIS_URL": "redis"}.items()
    given = own | {name: here[name] for name in hosts}
    if "REDIS_URL" in hosts:
        given["REDIS_PASSWORD"] = PASSWORD  # an operator's own Redis may ask for one
    programs = Path(sys.executable).parent  # the image's are in /venv/bin
    return environment(PATH=f"{programs}:/usr/bin:/bin") | DOTENV | given


def command_of(service: dict[str, Any], folder: Path, port: int) -> list[str]:
    """A service's command, its address and its folder being ours."""
    metrics = str(free_port("127.0.0.1", 0))
    places = {"0.0.0.0": "127.0.0.1", "8000": str(port), "9464": metrics}  # noqa: S104 - replaced
    command = [places.get(word, word) for word in service["command"]]
    return [word.replace("/tmp/", f"{folder}/") for word in command]  # noqa: S108 - replaced


@contextmanager
def started(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    """A service for the length of a block; asked to stop as compose asks, it ends by itself."""
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            code = process.wait(PATIENCE_SECONDS)
    assert code == 0, log.read_text()


def run(command: list[str], env: dict[str, str]) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_password_with_signs_of_a_url_carries_a_tick_to_a_verified_webhook(
    services: dict[str, dict[str, Any]], urls: Urls, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1", 0)
    commands = {name: command_of(services[name], tmp_path, port) for name in OURS}
    envs = {name: environment_of(services[name], urls, tmp_path) for name in OURS}
    run(commands["migrate"], envs["migrate"])
    made = json.loads(run(["unbroken", "tenant", "create", "acme", "--json"], envs["api"]))
    with ExitStack() as stack, Receiver() as receiver, requests.Session() as session:
        for name in OURS[1:]:
            log = tmp_path / f"{name}.log"
            stack.enter_context(started(commands[name], envs[name], log))
        base = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: is_healthy(services["api"], envs["api"], port), PATIENCE_SECONDS)
        session.headers["X-API-Key"] = made["live_key"]
        gamify = f"{base}/api/v1/gamify"
        hook = {"url": receiver.url, "event_types": ["behavior.*"]}
        secret = session.post(f"{gamify}/admin/webhooks", json=hook, timeout=15).json()["secret"]
        receiver.trust(secret)
        streak = {"code": "daily", "name": "Daily", "period": "daily"}
        assert session.post(f"{gamify}/streaks", json=streak, timeout=15).ok
        tick = {"participant_id": "user_42", "streak_code": "daily"}
        answer = session.post(f"{gamify}/streaks/record", json=tick, timeout=15)
        assert answer.status_code in (200, 202), answer.text
        receiver.wait_for(1, PATIENCE_SECONDS)
        assert receiver.invalid == []
        fact = json.loads(receiver.requests[0].body)
        assert (fact["participant_id"], fact["payload"]["count"]) == ("user_42", 1)


def is_healthy(service: dict[str, Any], env: dict[str, str], port: int) -> bool:
    """Whether the service's own health check says so."""
    _, *check = service["healthcheck"]["test"]
    command = [word.replace(":8000/", f":{port}/") for word in check]
    return not subprocess.run(command, env=env, capture_output=True, check=False).returncode
