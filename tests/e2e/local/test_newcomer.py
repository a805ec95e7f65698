"""The demo as a newcomer uses it: a new streak, a tick, a verified delivery.

Each step is taken as it is printed; docs/quickstart.md lists the same ones.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import expect

from api.cli.demo.command import CODE
from api.cli.local.proc import wait_until
from tests.e2e.browsing import WAIT_MS, browser, sign_in
from tests.e2e.running import PATIENT, ROOT, environment, short_folder

PATIENCE_SECONDS = 120.0
NAVIGATION = "Progression → Streaks → New streak"


@dataclass
class Demo:
    """A demo that keeps running, and what it has printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first place where it says so."""
        assert wait_until(lambda: bool(re.search(pattern, self.text)), PATIENCE_SECONDS), self.text
        found = re.search(pattern, self.text)
        assert found
        return found


@pytest.fixture
def demo() -> Iterator[Demo]:
    folder = short_folder()
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli.demo.command", "--data", str(folder / "data"),
         "--port", "0"],
        cwd=ROOT, env=environment(COLUMNS="200", **PATIENT), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    demo = Demo(process)
    reading = threading.Thread(target=lambda: demo.lines.extend(process.stdout or ()))
    reading.start()
    yield demo
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0
    reading.join(PATIENCE_SECONDS)
    assert process.stdout
    process.stdout.close()
    assert "stopping" in demo.text
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(300)
def test_a_newcomer_follows_what_the_demo_prints_to_a_verified_delivery(demo: Demo) -> None:
    url = demo.wait_for(r"Open (http://\S+)/dashboard")[1]
    key = demo.wait_for(r"sign in with the live key\s+(bq_live_\w+)")[1]
    curl = demo.wait_for(r"(?s)\n(curl -X POST .*?)\n\n")[1]
    assert NAVIGATION in demo.text
    with browser() as opened:
        page = opened.new_context(base_url=url).new_page()
        page.set_default_timeout(WAIT_MS)
        sign_in(page, key)
        page.get_by_role("link", name="Streaks").click()
        page.get_by_role("link", name="New streak").first.click()
        page.get_by_label("Code").fill(CODE)
        page.get_by_label("Name").fill("Morning run")
        page.get_by_role("button", name="Create streak").click()
        expect(page.locator(".notice")).to_have_text("Streak created")
        done = subprocess.run(
            ["bash", "-c", f"{curl} --silent --fail"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert json.loads(done.stdout)["outcome"] == "started", done.stdout
        demo.wait_for(rf"fact behavior\.streak_recorded .*{CODE}.*✓ signature")
        page.get_by_role("link", name="Destinations").click()
        page.get_by_role("link", name="/facts").click()
        newest = page.locator("tbody tr").first
        expect(newest).to_contain_text("you")
        expect(newest).to_contain_text("delivered")
        newest.get_by_role("link").first.click()
        expect(page.locator("main")).to_contain_text(CODE)


def test_the_quickstart_tells_of_the_same_steps() -> None:
    text = " ".join((ROOT / "docs/quickstart.md").read_text().split())
    for step in ("/dashboard", NAVIGATION, CODE, "Delivery → Destinations"):
        assert step in text, step
