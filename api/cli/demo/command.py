"""`unbroken demo`: start everything, play a few days of ticks, verify every fact."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click
import requests
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.cli.demo.script import FACT_TYPE, SCENES, STREAK, Scene, crowd, facts_expected
from api.cli.errors import CannotRun
from api.cli.fact_line import fact_line
from api.cli.local import exec_child
from api.cli.local.data_dir import DEMO
from api.cli.ports import free_port
from api.cli.program_name import program
from api.cli.receiver import Arrival, Subscriber

START_SECONDS, STOP_SECONDS, FACTS_SECONDS = 120, 30, 30
PORT = 8000
# Per request. The first answer of a cold worker on a busy machine may take as long as the API's
# longest wait, plus a reserve.
WAIT_SECONDS, ANSWER_SECONDS = 10, 15

CODE = "morning_run"  # of the streak that the user creates

OUTCOME_STYLES = {
    "started": "green", "extended": "green", "backfilled": "cyan", "repeated": "dim",
    "reset": "yellow",
}  # fmt: skip


@click.command(short_help="Start everything and show it: ticks in, verified facts out.")
@click.option(
    "--once", is_flag=True, help="Stop at the end; exit 0 only if every result was right."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    show_default=f"{PORT}, any free port if it is taken",
    help="Port of the API; 0 takes any free one.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(DEMO),
    show_default=True,
    help="Folder of the demo's data.",
)
def demo(once: bool, port: int | None, data: Path) -> None:
    """Start everything, post a few days of ticks, and show every answer and every verified fact.
    Then keep running, and show the facts of your own ticks.

    \b
    Example:
      unbroken demo --once
    """
    console = Console(highlight=False, soft_wrap=True)
    with _stopped_in_order(), _up(console, data, _port() if port is None else port) as url:
        play = Play(console, url, _tenant(data))
        with Subscriber(play.seen) as subscriber:
            is_right = play.run(subscriber)
            if not once:
                play.go_on()
                _keep_running(console, url, play.keys, data)
    sys.exit(0 if is_right else 1)


def _port() -> int:
    """The usual port, or any free one if it is taken."""
    try:
        return free_port("127.0.0.1", PORT)
    except CannotRun:
        return 0


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Clean up on SIGTERM and SIGHUP, as on Ctrl-C."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for signal_number in wanted:  # the cleanup itself is not interrupted
            signal.signal(signal_number, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for signal_number in wanted:
        signal.signal(signal_number, stop)
    yield


@contextmanager
def _up(console: Console, data: Path, port: int) -> Iterator[str]:
    """Run `unbroken up` as a child; yield its URL once it is ready."""
    console.print("[bold]Starting Postgres, Redis, the API and the workers …[/]")
    command = [sys.executable, "-m", "api.cli", "up", "--data", str(data), "--port", str(port)]
    # Stopped when this process is killed, too.
    started = exec_child.Launch(argv=command, parent=os.getpid(), death_signal=signal.SIGTERM)
    child = subprocess.Popen(  # noqa: S603 - the argv is our own
        exec_child.command(started),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    threading.Thread(target=lambda: said.extend(child.stderr or ()), daemon=True).start()
    try:
        yield _ready_url(child, said)
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()


def _ready_url(child: subprocess.Popen[str], said: list[str]) -> str:
    timer = threading.Timer(START_SECONDS, child.kill)
    timer.start()
    try:
        line = child.stdout.readline() if child.stdout else ""
    finally:
        timer.cancel()  # a pending timer would keep the process alive
    if not line.startswith("ready "):
        child.wait(STOP_SECONDS)
        raise click.ClickException("`unbroken up` did not start:\n" + "".join(said[-10:]))
    return line.split()[1]


def _tenant(data: Path) -> dict[str, str]:
    slug = f"demo-{secrets.token_hex(3)}"
    command = [sys.executable, "-m", "api.cli", "tenant", "create", slug]
    made = subprocess.run(  # noqa: S603 - the argv is our own
        [*command, "--data", str(data), "--json"], check=True, capture_output=True, text=True
    )
    keys: dict[str, str] = json.loads(made.stdout)
    return keys


@dataclass
class Play:
    """One run of the script against an API, followed by the user's own requests."""

    console: Console
    url: str
    keys: dict[str, str]
    facts: list[dict[str, Any]] = field(default_factory=list)
    forged: int = 0
    wrong: list[str] = field(default_factory=list)
    posted_at: dict[str, float] = field(default_factory=dict)  # by tick id
    is_over: bool = False  # the script; later facts come from the user
    webhook_id: str = ""
    delays_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = f"{self.url}/api/v1/gamify"
        self.http = requests.Session()
        self.http.headers["X-API-Key"] = self.keys["live_key"]
        self.http.headers["Prefer"] = f"wait={WAIT_SECONDS}"
        self.today = datetime.now(UTC)
        self.printing = threading.Lock()

    def run(self, subscriber: Subscriber) -> bool:
        """Play the whole script; return whether every answer, fact and count was right."""
        self._set_up(subscriber)
        for scene in SCENES:
            self._record(scene)
        self._record_crowd()
        self._await_facts()
        self._check_counts()
        self._summary()
        return not self.wrong

    def go_on(self) -> None:
        """Subscribe to all facts from now on and print each."""
        self.is_over = True
        self.http.patch(
            f"{self.api}/admin/webhooks/{self.webhook_id}",
            json={"event_types": ["*"]},
            timeout=ANSWER_SECONDS,
        ).raise_for_status()

    def _set_up(self, subscriber: Subscriber) -> None:
        self._post("/streaks", STREAK, 201)
        hook = {"url": subscriber.url, "event_types": [FACT_TYPE], "description": "the demo"}
        made = self._post("/admin/webhooks", hook, 201)
        self.webhook_id = made["id"]
        subscriber.trust(made["secret"])
        self._say(
            f"tenant [bold]{self.keys['tenant']}[/], streak [bold]daily_login[/] (one grace"
            f" period), facts go to [bold]{subscriber.url}[/]\n"
        )

    def _record(self, scene: Scene) -> None:
        sent = time.time()
        answer = self._post("/streaks/record", scene.tick(self.today), 200)
        self.posted_at[answer.get("tick_id", "")] = sent
        outcome, count = answer.get("outcome", "?"), answer.get("new_count")
        style = OUTCOME_STYLES.get(outcome, "red")
        self._say(
            f"tick  {scene.participant_id:9} {answer.get('period_key', ''):10} "
            f"[{style}]{outcome:10}[/] count {count}   [dim]{scene.note}[/]"
        )
        if (outcome, count) != (scene.outcome, scene.count):
            self.wrong.append(f"{scene.participant_id}: {outcome} {count}, not {scene}")

    def _record_crowd(self) -> None:
        ticks = crowd(self.today)
        answer = self._post("/streaks/record/batch", {"ticks": ticks}, 202)
        self._say(f"batch {answer.get('accepted')} ticks accepted in one request")
        if answer.get("accepted") != len(ticks):
            self.wrong.append(f"the batch: {answer}")

    def _post(self, path: str, body: Any, status: int) -> dict[str, Any]:
        response = self.http.post(self.api + path, json=body, timeout=ANSWER_SECONDS)
        if response.status_code != status:
            self.wrong.append(f"POST {path}: {response.status_code} {response.text[:200]}")
        answer: dict[str, Any] = response.json()
        return answer

    def seen(self, arrival: Arrival) -> None:
        """Check off a fact and print it."""
        fact = arrival.fact if arrival.verdict == "verified" else None
        if fact is None:
            self.forged += 1
            return
        if self.is_over:
            said = escape(fact_line(fact))
            self._say(f"  [magenta]fact[/] {said}   [green]✓ signature[/]")
            return
        self.facts.append(fact)
        payload = fact["payload"]
        posted = self.posted_at.get(payload["tick_id"])
        if posted is not None:
            self.delays_ms.append((time.time() - posted) * 1_000)
        self._say(
            f"  [magenta]fact[/] {fact['participant_id']:9} {fact['type']} count"
            f" {payload['count']}   [green]✓ signature[/] [dim]{fact['id'][:16]}…[/]"
        )

    def _await_facts(self) -> None:
        ends = time.monotonic() + FACTS_SECONDS
        while time.monotonic() < ends and len(self._facts_seen()) < len(facts_expected()):
            time.sleep(0.05)
        missing, extra = (
            facts_expected() - self._facts_seen(),
            (self._facts_seen() - facts_expected()),
        )
        self.wrong += [f"no fact for {kind}" for kind in sorted(missing)]
        self.wrong += [f"an unexpected fact: {kind}" for kind in sorted(extra)]
        if self.forged:
            self.wrong.append(f"{self.forged} facts without a valid signature")

    def _facts_seen(self) -> set[tuple[str, str, int]]:
        return {
            (fact["participant_id"], fact["payload"]["outcome"], fact["payload"]["count"])
            for fact in list(self.facts)
        }

    def _check_counts(self) -> None:
        """Compare the API's count of each participant with that of the last tick."""
        self.live: dict[str, dict[str, Any]] = {}
        expected = {scene.participant_id: scene.count for scene in SCENES}
        for name, count in expected.items():
            answer = self.http.get(
                f"{self.api}/participants/{name}/streaks", timeout=ANSWER_SECONDS
            ).json()
            self.live[name] = answer["streaks"][0]
            if self.live[name]["current_count"] != count:
                self.wrong.append(f"{name} reads {self.live[name]['current_count']}, not {count}")

    def _summary(self) -> None:
        table = Table(box=None, pad_edge=False, title="\nStreaks now", title_justify="left")
        for column in ("participant", "count", "longest", "status", "breaks at"):
            table.add_column(column)
        for name, streak in self.live.items():
            table.add_row(
                name, str(streak["current_count"]), str(streak["longest_count"]),
                streak["status"], str(streak["expires_at"]),
            )  # fmt: skip
        self.console.print(table)
        delays = sorted(self.delays_ms) or [0.0]
        self.console.print(
            f"\n{len(SCENES)} ticks and a batch posted, {len(self.facts)} facts received,"
            f" all signed; median {delays[len(delays) // 2]:.0f} ms from tick to verified fact"
        )
        for problem in self.wrong:
            self.console.print(f"[red]wrong:[/] {problem}", markup=True)
        self.console.print(
            "[bold red]A result was wrong.[/]"
            if self.wrong
            else "[bold green]Every answer, fact, signature and count was right.[/]"
        )

    def _say(self, line: str) -> None:
        with self.printing:
            self.console.print(line)


def _keep_running(console: Console, url: str, keys: dict[str, str], data: Path) -> None:
    console.print(
        f"\nStill running (Ctrl-C stops it). [bold]Now you:[/]\n\n"
        f"  1. Open [bold]{url}/dashboard[/] and sign in with the live key\n"
        f"       {keys['live_key']}\n"
        f"  2. Progression → Streaks → New streak: code {CODE}, name Morning run. Create it.\n"
        f"  3. In another terminal, record a tick:\n\n"
        f"curl -X POST {url}/api/v1/gamify/streaks/record \\\n"
        f"  -H 'X-API-Key: {keys['live_key']}' -H 'Content-Type: application/json' \\\n"
        f'  -d \'{{"participant_id": "you", "streak_code": "{CODE}"}}\'\n\n'
        "  4. Its verified fact appears below. Its delivery is under Delivery → Destinations →"
        " /facts, in the first row.\n\n"
        f"The key of the sandbox: {keys['test_key']}\n"
        f"To use the commands (`{program()} --help`) in that terminal:\n"
        f"  export UNBROKEN_URL={url} UNBROKEN_KEY={keys['live_key']}\n"
        f"Commands for operators, such as doctor and trace, need --data {escape(str(data))}.\n"
    )
    try:
        while True:
            time.sleep(3_600)
    except KeyboardInterrupt:
        console.print("\nstopping …")


if __name__ == "__main__":
    demo()
