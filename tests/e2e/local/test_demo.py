"""The demo, as `make demo ONCE=1` runs it; and that it can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli.demo import script
from api.cli.receiver import Arrival, Subscriber
from tests.e2e.running import ROOT, environment, short_folder
from tests.receiver import Receiver


@pytest.fixture
def folder() -> Iterator[Path]:
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_it_ends_well_when_every_answer_fact_and_count_was_right(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.cli.demo.command", "--once", "--data", str(folder / "data")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every answer, fact, signature and count was right." in done.stdout
    assert done.stdout.count("✓ signature") == len(script.facts_expected())
    assert "late tick joins the chains" in done.stdout


def test_it_ends_badly_when_an_expectation_does_not_hold(folder: Path) -> None:
    broken = (
        "import api.cli.demo.script as s, dataclasses as d;"
        "s.SCENES = (d.replace(s.SCENES[0], count=2), *s.SCENES[1:]);"
        "from api.cli.demo.command import demo; demo()"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken, "--once", "--data", str(folder / "data")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wrong: amira: started 1" in done.stdout


def test_its_subscriber_refuses_what_is_not_signed_with_its_secret() -> None:
    seen: list[Arrival] = []
    with Subscriber(seen.append) as subscriber:
        subscriber.trust("whsec_" + "A" * 44)
        done = subprocess.run(
            [sys.executable, "-c", _FORGE, subscriber.url], capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
    assert done.stdout.strip() == "401"
    assert [(one.verdict, one.fact) for one in seen] == [("forged", None)]


_FORGE = """
import sys, requests
headers = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
print(requests.post(sys.argv[1], data=b"{}", headers=headers, timeout=10).status_code)
"""


def test_the_receiver_of_the_tests_notices_a_forged_signature_too() -> None:
    with Receiver(secret="whsec_" + "A" * 44) as receiver:
        subprocess.run(
            [sys.executable, "-c", _FORGE, receiver.url], capture_output=True, timeout=30,
            check=False,
        )  # fmt: skip
        receiver.wait_for(1)
        assert len(receiver.invalid) == 1
