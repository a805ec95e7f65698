"""Run our own roles in forks of the supervisor, which has imported what they need.

The imports are paid for once, and their memory is shared. A container runs each role by its command
instead (docs/operations.md).
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from setproctitle import getproctitle, setproctitle

from api.cli.local import exec_child, proc
from api.cli.local.child_process import Role, write_pid
from api.cli.local.data_dir import Data
from api.cli.local.log_files import open_log

# What a worker, beat, the exporter and the API import, but for workers/app.py: it reads settings.
_SHARED = (
    "celery.bin.celery",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.concurrency.solo",
    "celery.worker.consumer.consumer",
    "kombu.transport.redis",
    "workers.tasks",
    "workers.telemetry.heartbeats",
    "api.cli.serve",
    "api.cli.commands.metrics",
    "api.app",
    "api.server.asgi",
)
_STANDARD_FILES = (0, 1, 2)
_TO_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Forked:
    """A forked child, with what a supervisor uses of `subprocess.Popen`."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it); None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise TimeoutExpired after `timeout` seconds."""
        seconds = threading.TIMEOUT_MAX if timeout is None else timeout
        if not proc.wait_until(lambda: self.poll() is not None, seconds):
            raise subprocess.TimeoutExpired("a forked role", seconds)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Signal it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def share() -> None:
    """Import what the roles need. Call it before the first `start`."""
    for module in _SHARED:
        import_module(module)
    getproctitle()  # it finds its room now: a child's environment is another one
    gc.collect()


def start(role: Role, data: Data, environment: Mapping[str, str]) -> Forked:
    """Fork a role, whose `argv` is `python -m MODULE …`, and write its pid file.

    Call it from the main thread of a process without other threads. Objects of the supervisor stay
    in the child untouched: frozen, and referenced by frames that never end.
    """
    log = open_log(data.log(role.name))
    parent = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    gc.freeze()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_RESET)  # none may unwind the child
    try:
        pid = os.fork()
        if pid == 0:
            _live(role, log, environment, parent, blocked)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(log)
    write_pid(role, data, pid)
    return Forked(pid)


def _live(
    role: Role,
    log: int,
    environment: Mapping[str, str],
    parent: int,
    mask: set[signal.Signals | int],
) -> NoReturn:
    """The whole life of a child: it never returns to the supervisor's code."""
    code = 1
    try:
        _separate(log)
        exec_child.die_with(parent, role.death_signal)
        os.chdir(role.cwd)
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in _TO_RESET[1:]:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = _run(role.argv)
    except BaseException:  # noqa: BLE001 - the child must not unwind into the supervisor
        traceback.print_exc()
    finally:
        os._exit(code)


def _separate(log: int) -> None:
    """A session of its own, with the log as output and none of the supervisor's files."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in zip(_STANDARD_FILES, (nothing, log, log), strict=True):
        os.dup2(source, target)
    os.closerange(len(_STANDARD_FILES), os.sysconf("SC_OPEN_MAX"))
    sys.stdin = os.fdopen(0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))


def _run(argv: list[str]) -> int:
    """Run `python -m MODULE …` in this process; return its exit code."""
    _, option, module, *arguments = argv
    if option != "-m":
        raise ValueError(f"not a module: {argv}")
    setproctitle(" ".join(argv))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return _exit_code(end)
    finally:
        _end()
    return 0


def _exit_code(end: SystemExit) -> int:
    """As the interpreter takes it: text is printed."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _end() -> None:
    """What the interpreter does at its end: wait for threads, run exit functions, flush."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
