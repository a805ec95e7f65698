"""`rediss://`: the API's and the workers' client and Celery's verify the same certificates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from settings import Settings
from tests.bench.process import free_port
from tests.certificates import contexts
from tests.debian import listening, program
from workers.intake.client import IntakeSettings, Unavailable, open_intake
from workers.runtime.celery_config import UPKEEP, broker_url, make_celery


def certificate(folder: Path) -> Path:
    """A key and a certificate of its own for `localhost`, in one file."""
    folder.mkdir()
    contexts("localhost", folder)
    return folder / "server.pem"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for certificates."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def own_ca(folder: Path) -> Path:
    """What the server shows."""
    return certificate(folder / "own")


@pytest.fixture(scope="module")
def port(folder: Path, own_ca: Path) -> Iterator[int]:
    """A Redis that speaks nothing but TLS."""
    port = free_port()
    options = {
        "--port": "0",
        "--tls-port": str(port),
        "--tls-cert-file": str(own_ca),
        "--tls-key-file": str(own_ca),
        "--tls-ca-cert-file": str(own_ca),
        "--tls-auth-clients": "no",
        "--save": "",
        "--requirepass": "p@:/#% word",
    }
    argv = [program("redis-server"), *(text for pair in options.items() for text in pair)]
    with listening(argv, port, folder / "log"):
        yield port


def url(port: int, query: str) -> str:
    return f"rediss://:p%40%3A%2F%23%25%20word@localhost:{port}/3{query}"


def is_reached_by_client(settings: Settings, redis_url: str) -> bool:
    with closing(open_intake(replace(settings, redis_url=redis_url).of(IntakeSettings))) as intake:
        try:
            return intake.ping()
        except Unavailable:
            return False


def is_reached_by_celery(redis_url: str) -> bool:
    with closing(make_celery(redis_url)) as app:
        app.conf.broker_transport_options |= {"max_retries": 1, "interval_start": 0}
        try:
            app.send_task("sweep", queue=UPKEEP)
            with app.connection_for_read() as connection:
                return bool(connection.default_channel.client.llen(UPKEEP))
        except Exception as error:  # noqa: BLE001 - kombu's own, of many kinds
            assert "CERTIFICATE_VERIFY_FAILED" in repr([error, error.__cause__, error.__context__])
            return False


def test_both_reach_a_server_whose_ca_the_url_names(
    settings: Settings, port: int, own_ca: Path
) -> None:
    redis_url = url(port, f"?ssl_ca_certs={own_ca}")
    assert is_reached_by_client(settings, redis_url)
    assert is_reached_by_celery(redis_url)


def test_both_refuse_a_certificate_of_another_ca(
    settings: Settings, port: int, folder: Path
) -> None:
    redis_url = url(port, f"?ssl_ca_certs={certificate(folder / 'other')}")
    assert not is_reached_by_client(settings, redis_url)
    assert not is_reached_by_celery(redis_url)


def test_both_refuse_a_certificate_that_this_machine_does_not_trust(
    settings: Settings, port: int
) -> None:
    assert not is_reached_by_client(settings, url(port, ""))
    assert not is_reached_by_celery(url(port, ""))


def test_both_refuse_a_certificate_of_another_name(
    settings: Settings, port: int, own_ca: Path
) -> None:
    redis_url = url(port, f"?ssl_ca_certs={own_ca}").replace("localhost", "127.0.0.1")
    assert not is_reached_by_client(settings, redis_url)
    assert not is_reached_by_celery(redis_url)


def test_both_verify_nothing_when_the_url_says_so(settings: Settings, port: int) -> None:
    redis_url = url(port, "?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert is_reached_by_client(settings, redis_url)
    assert is_reached_by_celery(redis_url)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("redis://u:p%40@h:1/2?protocol=2&socket_timeout=1", "redis://u:p%40@h:1/2"),
        ("redis://[::1]:1?db=4", "redis://[::1]:1/4"),
        ("unix:///run/a/redis.sock?db=1", "redis+socket:///run/a/redis.sock?virtual_host=1"),
        ("unix://:p%2F@/run/redis.sock", "redis+socket://:p%2F@/run/redis.sock?virtual_host=0"),
    ],
)
def test_celery_uses_the_server_and_the_database_of_the_url(ours: str, theirs: str) -> None:
    assert broker_url(ours) == theirs


def test_celery_uses_the_database_of_a_unix_socket(settings: Settings) -> None:
    with closing(make_celery(settings.redis_url + "?db=5")) as app:
        app.send_task("sweep", queue=UPKEEP)
        with app.connection_for_write() as connection:
            client = connection.default_channel.client
            assert client.connection_pool.connection_kwargs["db"] == 5
            assert client.delete(UPKEEP) == 1
