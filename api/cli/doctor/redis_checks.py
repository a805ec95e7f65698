"""The checks of `unbroken doctor` for Redis, the workers and the streams. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from api.cli.doctor.checks import CheckState, Finding, duration, well
from workers.intake.client import IntakeStatus, StreamStatus
from workers.telemetry.heartbeats import Processes

VERSION_MIN = (6, 2)  # docs/operations.md
SWEPT_SECONDS_MAX = 15.0  # beat starts one per second; a worker may be busy for a while
WAITING_SECONDS_MAX = 60.0  # a drain reads within a second: a longer wait means that none runs
MEMORY_SHARE_WARNING = 0.75
MEMORY_SHARE_FAILED = 0.95


def redis(seen: IntakeStatus) -> list[Finding]:
    """Version, durability, memory."""
    return [
        _version(seen.version),
        _append_only(seen.settings["appendonly"]),
        _fsync(seen.settings["appendonly"], seen.settings["appendfsync"]),
        _written(seen.is_aof_well),
        _eviction(seen.settings["maxmemory-policy"]),
        _memory(seen.used_memory_bytes, seen.settings["maxmemory"]),
    ]


def _version(version: str) -> Finding:
    numbers = tuple(int(text) for text in re.findall(r"\d+", version)[:2])
    if numbers >= VERSION_MIN:
        return well("redis", "version", version)
    return Finding("redis", "version", "failed", version, "upgrade the server to 6.2 or later")


def _unknown(check: str, wanted: str) -> Finding:
    found = "the server does not report it"
    return Finding("redis", check, "warning", found, f"check in its settings that it is {wanted}")


def _append_only(value: str | None) -> Finding:
    if value is None:
        return _unknown("append-only file", "on")
    if value == "yes":
        return well("redis", "append-only file", "on")
    found = "off: a restart loses every accepted tick that is not applied yet"
    advice = "CONFIG SET appendonly yes, and in redis.conf"
    return Finding("redis", "append-only file", "failed", found, advice)


def _fsync(append_only: str | None, value: str | None) -> Finding:
    advice = "CONFIG SET appendfsync always, and in redis.conf"
    if append_only == "no":
        return Finding("redis", "fsync", "failed", "nothing is written to disk", advice)
    match value:
        case None:
            return _unknown("fsync", "always")
        case "always":
            return well("redis", "fsync", "always: accepted is on disk")
        case "everysec":
            found = "everysec: a power cut may lose what was accepted in its last second or two"
            return Finding("redis", "fsync", "warning", found, advice)
    found = f"{value}: a power cut may lose what was accepted in its last half minute"
    return Finding("redis", "fsync", "failed", found, advice)


def _written(is_well: bool) -> Finding:
    if is_well:
        return well("redis", "last write", "ok")
    advice = "check its log: the disk may be full or not writable"
    return Finding("redis", "last write", "failed", "the append-only file failed", advice)


def _eviction(policy: str | None) -> Finding:
    if policy is None:
        return _unknown("eviction", "noeviction")
    if policy == "noeviction":
        return well("redis", "eviction", policy)
    found = f"{policy}: when memory runs out, accepted ticks may be evicted"
    advice = "CONFIG SET maxmemory-policy noeviction, and in redis.conf"
    return Finding("redis", "eviction", "failed", found, advice)


def _memory(used: int, limit: str | None) -> Finding:
    if not limit or limit == "0":
        return well("redis", "memory", f"{used // 2**20} MB in use, no limit set")
    share = used / int(limit)
    found = f"{share:.0%} of {int(limit) // 2**20} MB in use"
    if share < MEMORY_SHARE_WARNING:
        return well("redis", "memory", found)
    advice = "raise maxmemory, or add drains: when it is full, writes are answered with 503"
    state: CheckState = "failed" if share >= MEMORY_SHARE_FAILED else "warning"
    return Finding("redis", "memory", state, found, advice)


# -- workers ---------------------------------------------------------------------------------


def workers(seen: IntakeStatus, wanted: Mapping[str, int]) -> list[Finding]:
    """Whether enough processes of each kind run, and whether sweeps and drains happen."""
    running = [_processes(kind, count, seen) for kind, count in wanted.items()]
    sweep = _sweep(seen.swept_seconds_ago)
    logs = _logs(seen.log_lines_dropped)
    return [*running, sweep, _drains(seen), logs, *map(_stream, seen.streams)]


# The name of each kind of process, and the setting for its number.
_NAMED = {
    "drain": ("drain workers", "UNBROKEN_DRAIN_PROCESSES"),
    "webhooks": ("webhook workers", "UNBROKEN_WEBHOOK_PROCESSES"),
    "upkeep": ("upkeep workers", ""),
    "api": ("API processes", ""),
}


def _processes(kind: str, wanted: int, seen: IntakeStatus) -> Finding:
    check, setting = _NAMED[kind]
    there = seen.processes.get(kind, Processes())
    if there.alive < wanted:
        silent = ", ".join(
            f"{name} has been silent for {duration(age)}" for name, age in there.silent.items()
        )
        found = f"{there.alive} of {wanted} run" + (f": {silent}" if silent else "")
        advice = "start the missing processes; a silent one was killed, is stopped or hangs"
        return Finding("workers", check, "warning" if there.alive else "failed", found, advice)
    if setting and there.alive > wanted:
        found = f"{there.alive} run, {setting} says {wanted}: the others stay idle"
        return Finding("workers", check, "warning", found, f"set {setting}={there.alive}")
    return well("workers", check, f"{there.alive} run")


def _logs(dropped: int) -> Finding:
    if not dropped:
        return well("workers", "logs", "no line was dropped in the last hour")
    found = f"lines were dropped in the last hour, {dropped} in all"
    advice = "free space on the disk of the logs, or check what reads them; requests went on"
    return Finding("workers", "logs", "warning", found, advice)


def _sweep(seconds: float | None) -> Finding:
    if seconds is not None and seconds <= SWEPT_SECONDS_MAX:
        return well("workers", "beat and upkeep", f"swept {max(0, round(seconds))} s ago")
    found = "no sweep has ever run" if seconds is None else f"no sweep for {duration(seconds)}"
    advice = "start beat and a worker of the queue `upkeep`: they wake drains and make partitions"
    return Finding("workers", "beat and upkeep", "failed", found, advice)


def _drains(seen: IntakeStatus) -> Finding:
    entries = sum(stream.entries for stream in seen.streams)
    found = f"{seen.drains} drains, {seen.deliverers} deliverers at work"
    is_stuck = any(stream.oldest_age_seconds > WAITING_SECONDS_MAX for stream in seen.streams)
    if seen.drains or not is_stuck:
        return well("workers", "at work", found if entries or seen.drains else f"{found}: idle")
    advice = "start a worker of the queue `drain` and look at its log"
    return Finding("workers", "at work", "failed", found, advice)


def _stream(status: StreamStatus) -> Finding:
    """One stream with entries. The stream of backlogs may be long but must not stop."""
    check = f"stream {status.number} ({status.kind})"
    found = (
        f"{status.entries} waiting, {status.pending} of them in hand,"
        f" the oldest for {duration(status.oldest_age_seconds)}"
    )
    if status.oldest_age_seconds <= WAITING_SECONDS_MAX:
        return well("backlog", check, found)
    advice = (
        "look at the log of the drains: what cannot be applied is tried again and again; if they"
        " are busy, run more (UNBROKEN_DRAIN_PROCESSES)"
    )
    return Finding("backlog", check, "warning", found, advice)
