"""The documentation: it builds offline without a warning, says what the code says, and runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import errors_page
from models.rules.streaks import Ranges, Rules, add, walk
from tests.e2e.running import PATIENT, ROOT, environment, running_up, short_folder

DOCS = ROOT / "docs"
QUICKSTART = (DOCS / "quickstart.md").read_text()


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    """The site, built as `make docs` does into a folder of the test's."""
    folder = short_folder()
    done = subprocess.run(
        [str(ROOT / ".venv/bin/python"), "-m", "sphinx", "-b", "html", "-q", "-W",
         "--keep-going", str(DOCS), str(folder)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_every_page_is_in_it(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert pages - built == set()
    assert 'class="brand" href="index.html"' in (site / "api.html").read_text()
    assert "Copyright" not in (site / "index.html").read_text()
    assert json.loads((site / "openapi.json").read_text())["openapi"] == "3.1.0"


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    loading = re.compile(
        r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?(https?:)?//[^"'>]+"""
    )
    for page in site.rglob("*.html"):
        found = [one[0] for one in loading.finditer(page.read_text())]
        assert [one for one in found if 'rel="canonical"' not in one] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import ['\"]?https?:", sheet.read_text())


def test_it_can_be_searched_offline(site: Path) -> None:
    assert "Search.setIndex" in (site / "searchindex.js").read_text()


def test_the_page_of_errors_is_that_of_the_code() -> None:
    assert errors_page.ERRORS.read_text() == errors_page.errors_page()


BLOCK = re.compile(r"^```\w", re.MULTILINE)  # one with a language
RUN_BY = {  # who runs, or compares with the code, the blocks of each page
    "README.md": "e2e/documents/test_readme.py",
    "docs/cli.md": "e2e/commands/test_cli_use.py",
    "docs/errors.md": "e2e/documents/test_docs_site.py",
    "docs/facts.md": "integration/documents/test_fact_catalogue.py",
    "docs/forgiveness.md": "unit/documents/test_forgiveness_page.py",
    "docs/import.md": "e2e/commands/test_cli_import.py",
    "docs/moving.md": "e2e/deployment/test_moving.py",
    "docs/operations.md": "e2e/deployment/test_backup.py",
    "docs/points.md": "e2e/documents/test_points_page.py",
    "docs/quickstart.md": "e2e/documents/test_docs_site.py",
    "docs/recipes.md": "e2e/documents/test_examples.py",
    "docs/reminders.md": "unit/documents/test_reminders_page.py",
    "docs/repair.md": "e2e/documents/test_repair_page.py",
    "docs/time-zones.md": "integration/documents/test_time_zones.py",
    "docs/webhooks.md": "e2e/clients/test_webhook_snippets.py",
    "clients/python/README.md": "e2e/clients/test_client.py",
    "clients/typescript/README.md": "e2e/clients/test_typescript_client.py",
}


def test_every_page_with_something_to_run_is_run_by_a_test() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("*/*.md"), *ROOT.glob("clients/*/*.md")]
    shown = {str(one.relative_to(ROOT)) for one in pages if BLOCK.search(one.read_text())}
    assert shown == set(RUN_BY)
    for page, test in RUN_BY.items():
        assert (ROOT / "tests" / test).exists(), page


EXAMPLE = re.compile(r"^\| `([x.]+)` \| (\d+) \| (reset|held) \| (\d+) \| (\d+) \| (\d+) \|$", re.M)
EXAMPLES = EXAMPLE.findall((DOCS / "concepts.md").read_text())


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one[0]}-{one[1]}-{one[2]}")
def test_the_examples_of_concepts_are_what_the_engine_says(example: tuple[str, ...]) -> None:
    days, grace, miss, count, longest, left = example
    ranges: Ranges = ()
    for nth, day in enumerate(days):
        if day == "x":
            ranges = add(ranges, nth)
    found = walk(ranges, Rules(int(grace), miss == "reset"))
    assert (found.count, found.longest, found.grace_remaining) == (
        int(count), int(longest), int(left),
    )  # fmt: skip


def in_the_background(block: str) -> str:
    """What runs until Ctrl-C goes on beside the rest, once it listens, until it has heard a fact.

    It does so at any port: another test may have the usual one. The tick after it waits for its
    fact: facts of different participants arrive in any order.
    """
    if "user_43" in block:
        return f"{block}\nwait\n"
    if " listen " not in block:
        return block
    command = block.strip().replace("listen --create", "listen --create --port 0 --count 1")
    is_listening = "grep -q Listening listen.err 2>/dev/null"
    return f"{command} >heard 2>listen.err & until {is_listening}; do sleep 0.1; done\n"


def test_the_quickstart_works_as_it_is_written() -> None:
    folder = short_folder()
    try:
        with running_up(folder / "data", **PATIENT) as up:
            blocks = re.findall(r"```sh\n(.*?)```", QUICKSTART, re.DOTALL)
            blocks = list(map(in_the_background, blocks))
            script = 'set -euo pipefail\nunbroken() { python3 -m api.cli "$@"; }\n'
            script += "\necho\n".join(blocks)
            script = (
                script.replace("http://127.0.0.1:8000", up.url)
                .replace(".venv/bin/unbroken", "unbroken")
                .replace("--json |", f"--data {up.data.root} --json |")
            )
            path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=folder,
                env=environment(PYTHONPATH=str(ROOT), PATH=path),
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        ticks = [one for one in answers if "new_count" in one]
        assert [one["already_recorded"] for one in ticks] == [False, True, False]
        assert any(one.get("secret", "").startswith("whsec_") for one in answers)
        assert not any("request_id" in one for one in answers)
        assert "user_43" in (folder / "heard").read_text()
        assert "✓" in (folder / "heard").read_text()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
