"""Roles as docker-compose.yml starts them, on the servers of the tests: started, stopped kindly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml

from settings import Settings
from tests.e2e.running import PATIENCE_SECONDS, ROOT, environment

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
GRACE_SECONDS = float(SERVICES["drain"]["stop_grace_period"].removesuffix("s"))


class Running:
    """A role's process, as docker-compose.yml starts it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def stop(self) -> float:
        """Ask it to stop as Docker and Kubernetes do; how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        assert code == 0, self.log.read_text()
        return time.monotonic() - began


@contextmanager
def running(role: str, settings: Settings, folder: Path, port: int = 0) -> Iterator[Running]:
    """A role for the length of a block; killed in the end, should it still run."""
    places = {"0.0.0.0": "127.0.0.1", "8000": str(port)}  # noqa: S104 - replaced
    words = [places.get(word, word) for word in SERVICES[role]["command"]]
    command = [word.replace("/tmp/", f"{folder}/") for word in words]  # noqa: S108 - replaced
    env = environment(
        PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin",
        DATABASE_URL=settings.database_url,
        REDIS_URL=settings.redis_url,
        UNBROKEN_SECRET_KEYS=settings.secret_keys,
        UNBROKEN_WEBHOOK_ALLOW_CIDRS="127.0.0.0/8",
        UNBROKEN_WEBHOOK_ALLOW_HTTP="1",
        UNBROKEN_WEBHOOK_PORTS="*",
    )
    log = folder / f"{role}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Running(process, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_ready(url: str) -> bool:
    """Whether /readyz is green."""
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False
