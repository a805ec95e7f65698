"""`unbroken listen`: a local receiver, to inspect deliveries and simulate failures."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from api.cli.connect.api_session import BASE, ApiRefusal, Remote, api_options, remote
from api.cli.errors import CannotRun
from api.cli.fact_line import fact_line, printable
from api.cli.options import host_option, number_option, port_option
from api.cli.ports import reachable, taken
from api.cli.receiver import Arrival, ReceiverReply, Subscriber
from webhooks import signing

DELAY_SECONDS_MAX = 300.0  # ours waits 15 s for an answer; more is for other senders
TOO_LATE = ReceiverReply(503, "this receiver is ending\n")
MARKS = {"verified": ("✓", "green"), "unchecked": ("?", "yellow"), "forged": ("✗", "red")}


@click.command()
@host_option
@port_option(9000)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="whsec_…",
    envvar="UNBROKEN_WEBHOOK_SECRET",
    show_envvar=True,
    help="Verify with this secret. Repeatable (in the environment: separated by spaces).",
)
@number_option("--status", (200, 599), 200, "Answer with this status.")
@click.option(
    "--delay",
    type=click.FloatRange(0, DELAY_SECONDS_MAX),
    default=0.0,
    metavar="SECONDS",
    help="Answer after this delay; the service waits 15 s.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests.")
@click.option("--json", "as_json", is_flag=True, help="Print each body, on a line of its own.")
@click.option("--create", is_flag=True, help="Create a destination, and delete it at the end.")
@click.option(
    "--type",
    "event_types",
    multiple=True,
    default=("*",),
    show_default=True,
    help="Types that the created destination receives. Repeatable.",
)
@click.option("--public-url", help="URL of the created destination, if not HOST:PORT.")
@api_options
def listen(**given: Any) -> None:
    """Receive facts, verify their signatures and print them, until Ctrl-C.

    Facts are printed to stdout, everything else to stderr. A request that no secret has signed is
    answered 401 and not counted. Without a secret nothing is verified.

    \b
    Example:
      unbroken listen --create --key bq_live_…     everything that `unbroken up` sends
      unbroken listen --secret whsec_…             for a destination that there is already
      unbroken listen --create --status 500        see how a fact is tried again
      unbroken listen --create --json --count 1    one fact, as it was sent
    """
    for secret in given["secrets"]:
        _check(secret)
    show = Show(ReceiverReply(given["status"]), given["delay"], given["as_json"], given["count"])
    with _stopped_kindly():
        _run(show, _subscriber(show, given["host"], given["port"]), given)
    if show.broken is not None:
        raise show.broken  # the root command handles the closed pipe


def _run(show: Show, subscriber: Subscriber, given: dict[str, Any]) -> None:
    """Receive until all requested facts have arrived; KeyboardInterrupt ends it earlier."""
    url = given["public_url"] or reachable(subscriber.url)
    with ExitStack() as stack:
        secrets = given["secrets"]
        if given["create"]:
            secrets = (*secrets, stack.enter_context(_destination(url, given)))
        for secret in secrets:
            subscriber.trust(secret)
        stack.enter_context(subscriber)
        stack.callback(show.ending.set)
        _say(f"Listening at {subscriber.url}; Ctrl-C stops it.")
        if not secrets:
            _say(_how_to_create(url, given["url"] or "http://127.0.0.1:8000"))
        if not secrets:
            _say("Without --secret nothing is verified.")
        show.done.wait()


def _check(secret: str) -> None:
    try:
        signing.secret_key(secret)
    except ValueError as error:  # its message does not contain the secret
        raise CannotRun(f"--secret: {error}") from error


def _subscriber(show: Show, host: str, port: int) -> Subscriber:
    try:
        return Subscriber(show.reply, host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise taken(host, port) from error
        raise CannotRun(f"cannot listen on {host} port {port}: {error.strerror}") from error


@contextmanager
def _stopped_kindly() -> Iterator[None]:
    """End the block with cleanup on Ctrl-C, SIGTERM and SIGHUP; a second signal kills."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for signal_number in wanted:
            signal.signal(signal_number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {signal_number: signal.signal(signal_number, stop) for signal_number in wanted}
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)


def _say(text: str) -> None:
    click.echo(text, err=True)


# -- the destination -----------------------------------------------------------------------------


@contextmanager
def _destination(url: str, given: dict[str, Any]) -> Iterator[str]:
    """A destination that exists while the block runs; yields its secret."""
    wanted = {
        "url": url,
        "event_types": list(given["event_types"]),
        "description": "unbroken listen",
    }
    with remote(given["url"], given["key"], given["path"]) as api:
        made = api.call("POST", "/admin/webhooks", json=wanted)
        try:
            _say(f"Destination {made['id']} receives {', '.join(wanted['event_types'])}.")
            yield made["secret"]
        finally:
            _remove(api, made["id"])


def _remove(api: Remote, webhook_id: str) -> None:
    try:
        api.call("DELETE", f"/admin/webhooks/{webhook_id}")
    except click.ClickException as error:
        if not (isinstance(error, ApiRefusal) and error.code == "webhook_not_found"):
            _say(f"Destination {webhook_id} is still there: {error.message}")


def _how_to_create(url: str, api: str) -> str:
    return (
        "To receive facts, start with --create, or create a destination and start with its secret:"
        f"\n  curl -X POST {api}{BASE}/admin/webhooks -H 'X-API-Key: …'"
        " -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"url": "{url}", "event_types": ["*"]}}\''
    )


# -- arrivals --------------------------------------------------------------------------------


@dataclass
class Show:
    """Prints arrivals from several threads one at a time, and decides the answers."""

    answer: ReceiverReply
    delay_seconds: float
    as_json: bool
    left: int | None  # facts still to come; None: no end
    done: Event = field(default_factory=Event)  # all have arrived, or the reader of stdout has gone
    ending: Event = field(default_factory=Event)  # send pending answers at once
    broken: OSError | None = None  # why printing failed
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def reply(self, arrival: Arrival) -> ReceiverReply | None:
        """Print an arrival; the answer after the delay, None for a forged one."""
        with self._lock:
            if self.left == 0 or self.broken:
                return TOO_LATE  # not shown, so the sender must keep it
            try:
                self._print(arrival)
            except OSError as error:
                self.broken = error
                self.done.set()
                return TOO_LATE
            if arrival.verdict == "forged":
                return None
            self.left = None if self.left is None else self.left - 1
            is_last = self.left == 0
        self.ending.wait(self.delay_seconds)
        if is_last:
            self.done.set()
        return self.answer

    def _print(self, arrival: Arrival) -> None:
        line = self._line(arrival)
        is_fact = arrival.fact is not None
        if not self.as_json:
            self._console.print(line)
        elif is_fact:
            click.echo(b" ".join(arrival.body.splitlines()))  # ours have one line already
        if self.as_json and (arrival.times > 1 or not is_fact):
            _say(line.plain)

    def _line(self, arrival: Arrival) -> Text:
        mark, style = MARKS[arrival.verdict]
        line = Text.assemble((f"{datetime.now().astimezone():%H:%M:%S} ", "dim"), (mark, style))
        line.append(f" {_what(arrival)}")
        line.append(f"  {printable(arrival.id)}", "dim")
        if arrival.times > 1:
            line.append(f"  repeated, time {arrival.times}", "yellow")
        if arrival.verdict != "forged" and self.answer.status != 200:
            line.append(f"  → {self.answer.status}", "yellow")
        return line


def _what(arrival: Arrival) -> str:
    if arrival.verdict == "forged":
        return f"signed with no known secret: {len(arrival.body)} bytes → 401"
    fact = arrival.fact
    return f"{len(arrival.body)} bytes, no JSON object" if fact is None else fact_line(fact)
