"""Constants of the streams have one home, also where a script runs in Redis."""

from __future__ import annotations

import re
from pathlib import Path

from workers.intake import client, redis_keys

ROOT = Path(__file__).parents[3]
DAYS = re.compile(r"\b(86_400_000_000|3_600_000_000)\b")


def test_the_accept_script_takes_its_times_from_the_module_of_redis_keys() -> None:
    text = client._ACCEPT
    assert f"FIRST, MINUTE = 11, {redis_keys.MINUTE_MS}" in text
    assert f"'PX', {redis_keys.AWAKE_MS}" in text
    source = (ROOT / "workers/intake/accept.lua").read_text()
    assert "$MINUTE_MS" in source
    assert "$AWAKE_MS" in source


def test_a_day_and_an_hour_in_microseconds_are_written_once() -> None:
    files = (
        path
        for folder in ("api", "workers", "webhooks", "models")
        for path in (ROOT / folder).rglob("*.py")
    )
    found = [str(path.relative_to(ROOT)) for path in files if DAYS.search(path.read_text())]
    assert found == ["models/rules/periods.py"]
