"""docs/points.md, run: every shell block in order, and the answers that it shows or promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.e2e.running import PATIENT, ROOT, environment, running_up, short_folder

PAGE = (ROOT / "docs/points.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    """What the page's commands answer, against a service of its own."""
    folder = short_folder()
    try:
        with running_up(folder / "data", **PATIENT) as up:
            made = subprocess.run(
                ["python3", "-m", "api.cli", "tenant", "create", "points", "--json", "--data",
                 str(up.data.root)],
                env=_env(), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            env = _env(KEY=json.loads(made.stdout)["live_key"], URL=f"{up.url}/api/v1/gamify")
            done = subprocess.run(
                ["bash", "-c", "set -euo pipefail\n" + "\necho\n".join(SHELL)],
                cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return [
            json.loads(one)
            for one in re.findall(r"^\{.*\}$", done.stdout.replace("}{", "}\n{"), re.MULTILINE)
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _env(**values: str) -> dict[str, str]:
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return environment(PYTHONPATH=str(ROOT), PATH=path, **values)


def test_nothing_that_it_shows_is_refused(answers: list[dict[str, Any]]) -> None:
    assert len(answers) == PAGE.count("curl -s")
    assert [one for one in answers if "code" in one and "status" in one and "title" in one] == []


def test_the_first_answer_is_the_one_that_it_shows(answers: list[dict[str, Any]]) -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    assert list(answers[0]) == list(shown)
    assert answers[0] | {"transaction_id": ""} == shown | {"transaction_id": ""}


def test_the_points_lead_to_the_tier_the_mug_and_the_leaderboard(
    answers: list[dict[str, Any]],
) -> None:
    tier = next(one for one in answers if "current_tier" in one)
    assert tier["current_tier"]["code"] == "silver"
    claim = next(one for one in answers if "claim_id" in one)
    assert (claim["points_deducted"], claim["new_balance"]) == (500, 1_550)
    board = next(one for one in answers if "leaderboard_code" in one)
    assert [one["participant_id"] for one in board["entries"]] == ["user_7"]
    assert answers[-1]["rank"] == 1
