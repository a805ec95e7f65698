"""`unbroken import` in this process, against an API that listens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from click.testing import CliRunner, Result
from flask import Flask

from api.cli.main import main
from models.db import Engine, snapshot
from models.people import export
from tests.calls import client_of, entries, make_streak
from tests.conftest import Account
from tests.e2e.service import Service, listening
from tests.pipeline import Pipeline


def day(days_ago: int) -> str:
    """A calendar day (UTC) in the recent past."""
    return (datetime.now(UTC).date() - timedelta(days=days_ago)).isoformat()


@dataclass
class Importing:
    """A tenant with the streak `daily_login`, and a folder for files."""

    service: Service
    account: Account
    engine: Engine
    redis: redis.Redis
    folder: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of exactly these bytes."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, path: Path | str, *options: str, given: str | None = None) -> Result:
        """Import a file, or what stdin is given; what raises is a fault of ours."""
        env = {"UNBROKEN_URL": self.service.url, "UNBROKEN_KEY": self.service.key}
        done = CliRunner(env=env).invoke(main, ["import", str(path), *options], given)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def told(self, path: Path | str, *options: str) -> dict[str, Any]:
        """What --json prints."""
        return dict(json.loads(self.run(path, *options, "--json").stdout))

    def sent(self) -> int:
        """How many writes the API has accepted and no worker applied."""
        return entries(self.redis, self.account.live)

    def recorded(self) -> dict[str, list[list[str]]]:
        """The recorded periods of every participant and streak, once all is applied."""
        self.service.pipeline.drain()
        with snapshot(self.engine) as session:
            found = list(export.states(session, self.account.live.id))
        return {f"{one['participant_id']} {one['streak_code']}": one["recorded"] for one in found}


@contextmanager
def importing(
    app: Flask, account: Account, pipeline: Pipeline, folder: Path
) -> Iterator[Importing]:
    """An API that listens, for the length of a block."""
    key = account.keys["live"]
    make_streak(client_of(app, key))
    with listening(app, key, pipeline) as service:
        yield Importing(service, account, pipeline.engine, pipeline.client, folder)
