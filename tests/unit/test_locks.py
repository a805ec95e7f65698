"""The two locks: what runs is pinned in both alike, by hashes, and no address is in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def locked(name: str) -> dict[str, str]:
    """Each requirement with its version, and its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    return {line.split("==")[0]: " ".join(line.split()) for line in lines}


RUN, DEV = locked("requirements.lock"), locked("requirements-dev.lock")


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
    for line in [*RUN.values(), *DEV.values()]:
        assert "--hash=sha256:" in line, line
        assert "://" not in line
        assert "@" not in line


def test_the_tools_of_the_tests_are_not_in_what_runs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = {re.split(r"[>=<\[]", one)[0].lower() for one in extras["optional-dependencies"]["dev"]}
    assert tools <= set(DEV)
    assert {"mypy", "playwright", "pytest", "ruff", "sphinx"} <= tools - set(RUN)
