"""The egress guard at connect: names, addresses, certificates."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.world import World, names
from tests.receiver import Receiver
from webhooks import egress


def test_it_connects_to_the_vetted_address_under_the_destinations_own_name(
    world: World, receiver: Receiver
) -> None:
    world.subscribe(f"http://hooks.example:{receiver.port}/hook")
    world.publish()
    world.deliver(lookup=names({"hooks.example": ["127.0.0.1"]}))
    (request,) = receiver.requests
    assert request.headers["host"] == f"hooks.example:{receiver.port}"


def test_it_refuses_a_name_that_answers_otherwise_than_when_it_was_checked(
    world: World, receiver: Receiver
) -> None:
    """DNS rebinding: public at the check, local at the connection."""
    strict = egress.policy("", True, "*")
    url = f"http://hooks.example:{receiver.port}/hook"
    egress.check(url, strict, names({"hooks.example": ["93.184.216.34"]}))
    world.subscribe(url)
    (fact,) = world.publish()
    world.deliver(policy=strict, lookup=names({"hooks.example": ["127.0.0.1"]}))
    assert receiver.connections == 0
    assert world.attempts(fact)[0].error == "unreachable"


def test_it_ignores_proxies_of_the_environment(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    world.subscribe(receiver.url)
    world.publish()
    world.deliver()
    assert world.statuses() == ["delivered"]


@pytest.mark.parametrize(("name", "error"), [("hooks.example", None), ("other.example", "tls")])
def test_it_demands_a_certificate_for_the_name(
    world: World, tmp_path: Path, name: str, error: str | None
) -> None:
    server, client = _certificate("hooks.example", tmp_path)
    with Receiver(tls=server) as receiver:
        world.subscribe(f"https://{name}:{receiver.port}/hook")
        (fact,) = world.publish()
        world.deliver(lookup=names({name: ["127.0.0.1"]}), tls=client)
        assert world.attempts(fact)[0].error == error
        assert receiver.count == (0 if error else 1)


def _certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "server.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
    path.write_bytes(private + certificate.public_bytes(pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=certificate.public_bytes(pem).decode())
    return server, client
