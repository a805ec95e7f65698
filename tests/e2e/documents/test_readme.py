"""The README's shell block and its answer, run between the blocks of the quickstart.

The README is one screen; docs/endpoints.md holds the endpoint table.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.documents.test_docs_site import in_the_background
from tests.e2e.running import PATIENT, ROOT, Up, environment, running_up, short_folder
from tests.receiver import Receiver

README = (ROOT / "README.md").read_text()
ENDPOINTS_PAGE = (ROOT / "docs/endpoints.md").read_text()
QUICKSTART = (ROOT / "docs/quickstart.md").read_text()
LINES_MAX = 120
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
# The README's tick needs the demo's streak; here the first steps of the quickstart make one.
_STEPS = _BLOCK.findall(QUICKSTART)
SHELL = _STEPS[:2] + _BLOCK.findall(README) + _STEPS[2:]
# These start something that runs until Ctrl-C; the running one stands for them.
RUNNING = ("make demo\n", "make up\n")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    with running_up(folder / "data", **PATIENT) as up:
        yield up


def _here(script: str, up: Up, receiver: Receiver) -> str:
    """The script with this test's addresses and interpreter in place of the reader's."""
    return (
        script.replace("http://127.0.0.1:8000", up.url)
        .replace("http://127.0.0.1:9001/facts", receiver.url)
        .replace(".venv/bin/unbroken", "unbroken")
        .replace("--json |", f"--data {up.data.root} --json |")
    )


def test_every_shell_block_works_in_order_and_ends_in_a_verified_fact(up: Up, folder: Path) -> None:
    with Receiver() as receiver:
        blocks = [in_the_background(block) for block in SHELL if block not in RUNNING]
        script = 'set -euo pipefail\nunbroken() { python3 -m api.cli "$@"; }\n'
        script += "\n".join(f"{block}\necho; echo '--'" for block in blocks)
        env = environment(PYTHONPATH=str(ROOT))
        env["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            ["bash", "-c", _here(script, up, receiver)],
            cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        secret = next(answer["secret"] for answer in answers if "secret" in answer)
        receiver.trust(secret)
        receiver.wait_for(1)
        recorded = next(answer for answer in answers if "new_count" in answer)
    assert not receiver.invalid
    heard = (folder / "heard").read_text()
    assert "user_43" in heard
    assert "✓" in heard
    shown = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])
    assert list(recorded) == list(shown)
    varying = {"tick_id", "period_key"}
    assert {k: v for k, v in recorded.items() if k not in varying} == {
        k: v for k, v in shown.items() if k not in varying
    }
    batch = next(answer for answer in answers if "accepted" in answer)
    assert (batch["accepted"], batch["rejected"]) == (2, 0)
    assert any(answer.get("periods") for answer in answers)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)", README))))
def test_every_make_target_that_it_names_exists(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_is_one_screen() -> None:
    assert len(README.splitlines()) <= LINES_MAX


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_every_link_of_it_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


ENDPOINTS = re.findall(
    r"^\| `([A-Z]+) (/\S+)` \|[^|]*\| `(\S+)` `(\w+)` \|$", ENDPOINTS_PAGE, re.MULTILINE
)


@pytest.mark.parametrize(("method", "path", "file", "name"), ENDPOINTS)
def test_every_documented_endpoint_is_there_and_has_the_test_that_is_named(
    method: str, path: str, file: str, name: str
) -> None:
    described = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    full = path if path.startswith("/v1/") else f"/api/v1/gamify{path}"
    assert method.lower() in described[full]
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_every_endpoint_of_the_documents_is_in_the_table() -> None:
    listed = [(method, path) for method, path, *_ in ENDPOINTS]
    documented = [
        ("POST", "/participants"),
        ("GET", "/participants/{participant_id}"),
        ("PATCH", "/participants/{participant_id}"),
        ("GET", "/participants/{participant_id}/state"),
        ("POST", "/badges/award"),
        ("GET", "/participants/{participant_id}/badges"),
        *[(method, "/admin/badges") for method in ("GET", "POST")],
        *[(method, "/admin/badges/{badge_id}") for method in ("GET", "PATCH", "DELETE")],
        ("POST", "/v1/participants"),
        ("POST", "/streaks/record"),
        ("GET", "/participants/{participant_id}/streaks"),
        *[(method, "/streaks") for method in ("GET", "POST")],
        *[(method, "/streaks/{code}") for method in ("GET", "PATCH", "DELETE")],
    ]
    assert listed == documented
