"""clients/typescript: built, and tested by Node against a running server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.running import ROOT, running_up, short_folder, unbroken_json
from tests.toolchains import link_node

FOLDER = ROOT / "clients" / "typescript"
PROGRAMS = link_node(ROOT / "build" / "node")
SECONDS_MAX = 150  # ends a test that hangs; nothing is measured by it
FILES = ("client.test.js", "proxy.test.js", "react.test.js", "readme.test.js")


@dataclass(frozen=True)
class Server:
    """Where it answers, and an admin key."""

    url: str
    key: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The whole service, with a tenant."""
    parent = short_folder()
    with running_up(parent / "d") as up:
        up.wait_ready()
        made = unbroken_json("tenant", "create", "acme", "--data", str(parent / "d"))
        yield Server(up.url, made["live_key"])
    shutil.rmtree(parent)


def run(*command: str, **env: str) -> str:
    """Run a program in the client's folder and return what it printed."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]],
        cwd=FOLDER,
        env=os.environ | {"PATH": path} | env,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-3_000:]
    return done.stdout


@pytest.fixture(scope="module")
def built() -> Path:
    """The client, installed as the lock says and compiled."""
    if _installed() != _locked():
        run("npm", "ci", "--ignore-scripts")
    run("npm", "run", "build")
    run("npm", "run", "compile-tests")
    return FOLDER / "dist"


def _locked() -> dict[str, str]:
    return _versions(FOLDER / "package-lock.json")


def _installed() -> dict[str, str]:
    path = FOLDER / "node_modules" / ".package-lock.json"
    return _versions(path) if path.exists() else {}


def _versions(lock: Path) -> dict[str, str]:
    packages = json.loads(lock.read_text())["packages"]
    return {name: one["version"] for name, one in packages.items() if name}


@pytest.mark.parametrize("name", FILES)
def test_it_works_against_a_running_server(built: Path, server: Server, name: str) -> None:
    env = {"UNBROKEN_URL": server.url, "UNBROKEN_API_KEY": server.key}
    printed = run("node", "--test", f"build/{name}", **env)
    assert re.search(r"^. pass [1-9]", printed, re.MULTILINE), printed


def test_every_file_of_tests_is_run() -> None:
    found = {path.name.split(".")[0] for path in (FOLDER / "test").glob("*.test.ts*")}
    assert found == {name.split(".")[0] for name in FILES}


def test_it_depends_on_nothing_and_react_is_optional() -> None:
    package = json.loads((FOLDER / "package.json").read_text())
    assert "dependencies" not in package
    assert package["peerDependenciesMeta"] == {"react": {"optional": True}}


def test_the_lock_names_versions_and_hashes_and_no_address() -> None:
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in one for one in packages.values())
    assert all("integrity" in one for one in packages.values())


def test_only_the_hook_needs_react(built: Path) -> None:
    importing = {
        path.name for path in built.glob("*.js") if 'from "react"' in path.read_text()
    }  # fmt: skip
    assert importing == {"react.js"}
    assert (built / "react.js").read_text().startswith('"use client";')
