"""The licence is Apache-2.0, and everything that is handed out says so and carries its text."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LICENCE = "Apache-2.0"
# Of https://www.apache.org/licenses/LICENSE-2.0.txt, byte for byte.
TEXT_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.mark.parametrize("folder", ["", "clients/python", "clients/typescript"])
def test_the_text_is_the_licences_own(folder: str) -> None:
    text = (ROOT / folder / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == TEXT_SHA256


@pytest.mark.parametrize("path", ["pyproject.toml", "clients/python/pyproject.toml"])
def test_a_python_package_names_it_and_holds_its_text(path: str) -> None:
    project = tomllib.loads((ROOT / path).read_text())["project"]
    assert (project["license"], project["license-files"]) == (LICENCE, ["LICENSE"])


@pytest.mark.parametrize("path", ["package.json", "package-lock.json"])
def test_the_package_for_node_names_it(path: str) -> None:
    found = json.loads((ROOT / "clients/typescript" / path).read_text())
    package = found["packages"][""] if path == "package-lock.json" else found
    assert package["license"] == LICENCE


def test_the_package_for_node_holds_its_text() -> None:
    found = json.loads((ROOT / "clients/typescript/package.json").read_text())
    assert "LICENSE" in found["files"]


def test_the_image_is_labelled_with_it_and_holds_its_text() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    final_stage = lines.rpartition("\nFROM ")[2]
    assert f'org.opencontainers.image.licenses="{LICENCE}"' in final_stage
    assert any("LICENSE" in line for line in lines.splitlines() if line.startswith("COPY "))
    assert "!LICENSE" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_chart_is_annotated_with_it() -> None:
    chart = yaml.safe_load((ROOT / "ops/helm/unbroken/Chart.yaml").read_text())
    assert chart["annotations"]["artifacthub.io/license"] == LICENCE


@pytest.mark.parametrize("folder", ["", "clients/python", "clients/typescript"])
def test_the_readme_names_it(folder: str) -> None:
    assert f"[{LICENCE}](LICENSE)" in (ROOT / folder / "README.md").read_text()
