"""A setting that a role lacks or cannot read ends the role, and its last words name it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.composed import SERVICES
from tests.e2e.running import ROOT, environment

BOTH = {"DATABASE_URL": "postgresql://me@127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9"}


def ended(role: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A role of docker-compose.yml, run until it ends."""
    programs = Path(sys.executable).parent
    return subprocess.run(
        SERVICES[role]["command"],
        cwd=ROOT,
        env=environment(PATH=f"{programs}:/usr/bin:/bin", **env),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("role", ["drain", "webhooks", "upkeep"])
def test_a_worker_without_a_database_ends_before_its_first_task(role: str) -> None:
    done = ended(role, REDIS_URL=BOTH["REDIS_URL"])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("DATABASE_URL is not set.")


@pytest.mark.parametrize("role", ["migrate", "api", "drain", "beat", "metrics"])
def test_a_secret_that_cannot_be_read_ends_the_role_and_its_file_is_named(role: str) -> None:
    done = ended(role, **BOTH, DATABASE_PASSWORD_FILE="/nowhere/password")
    assert done.returncode != 0
    reason = "DATABASE_PASSWORD_FILE: /nowhere/password cannot be read: No such file or directory"
    assert reason in done.stdout + done.stderr
