"""Names that users and operators have in their programs: none that was released disappears.

released_names.txt has one a line. New names are appended; none is taken away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from settings import Settings
from tests.integration.documented import DOCUMENT

ROOT = Path(__file__).parents[3]
RELEASED = Path(__file__).with_name("released_names.txt").read_text().splitlines()
FOLDERS = ("api", "workers", "webhooks", "models")


@pytest.mark.parametrize(
    "kind", ["schema", "operation", "field", "setting", "metric", "logger", "option"]
)
def test_every_released_name_is_there(kind: str) -> None:
    released = {line for line in RELEASED if line.startswith(f"{kind} ")}
    assert released
    assert released - set(current_names()) == set()


def current_names() -> Iterator[str]:
    yield from _of_the_api()
    yield from (f"setting {field.name}" for field in fields(Settings))
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        yield from (f"metric {name}" for name in re.findall(r'"(unbroken_[a-z_]+)"', text))
        yield from (f"logger {name}" for name in re.findall(r'getLogger\("([a-z.]+)"\)', text))
    yield from _of_the_commands()


def _of_the_api() -> Iterator[str]:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        yield f"schema {name}"
        yield from (f"field {name}.{field}" for field in schema.get("properties", {}))
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            yield f"operation {method.upper()} {path} {operation['operationId']}"
            for parameter in operation.get("parameters", ()):
                yield f"operation {method.upper()} {path} {parameter['in']} {parameter['name']}"


def _of_the_commands() -> Iterator[str]:
    command = ""
    for line in (ROOT / "docs" / "cli.md").read_text().splitlines():
        if line.startswith("## "):
            command = line.removeprefix("## ")
            yield f"option {command}"
        elif line.startswith("  -"):
            yield from (f"option {command} {name}" for name in re.findall(r"--[a-z-]+", line[:40]))
