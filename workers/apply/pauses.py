"""Apply pauses: the days on which a participant's streaks are protected."""

from __future__ import annotations

from typing import Any

from models.ledgers.streak_changes import ChangeKind
from models.rules.periods import DAILY, key_of
from models.streaks.pauses import Pause, protected_by
from workers.apply.batch import Batch
from workers.apply.streak_changes import Sets, StreakChanges, codes_of, participant_key, remember
from workers.intake.messages import PauseRemovalV1, PauseV1

OVERLAPS = "pause_overlaps"
UNKNOWN = "pause_not_found"


def add(work: StreakChanges, batch: Batch, message: PauseV1) -> None:
    """Protect days of a participant, unless another pause holds one of them already."""
    participant, mine = batch.participant(message), participant_key(batch, message)
    streak_ids = None if message.streak_ids is None else tuple(message.streak_ids)
    pause = Pause(
        message.tenant_id, message.id, participant.id, message.first_day, message.last_day,
        streak_ids, message.reason, batch.now_us,
    )  # fmt: skip
    known = work.pauses.setdefault(mine, [])
    # Two ids that were merged may have had pauses of the same days: an export has both.
    clashes = pause.is_same_as if message.is_silent else pause.overlaps
    other = next(filter(clashes, known), None)
    if other is not None:
        batch.reject(message, OVERLAPS, f"Pause {other.id} protects {_span(other)} already")
        return
    known.append(pause)
    work.paused.append(pause)
    remember(participant)
    _apply(work, batch, message, pause)


def remove(work: StreakChanges, batch: Batch, message: PauseRemovalV1) -> None:
    """Take a pause away: its days are as if it had never been."""
    known = work.pauses.setdefault(participant_key(batch, message), [])
    pause = next((known_pause for known_pause in known if known_pause.id == message.pause_id), None)
    if pause is None:
        batch.reject(message, UNKNOWN, f"Pause '{message.pause_id}' not found")
        return
    known.remove(pause)
    work.resumed.append(pause)
    _apply(work, batch, message, pause)


def _apply(
    work: StreakChanges, batch: Batch, message: PauseV1 | PauseRemovalV1, pause: Pause
) -> None:
    known, effects = work.pauses[participant_key(batch, message)], []
    for streak in batch.configurations[message.tenant_id].streaks.values():
        subject = work.state_of(batch, message, streak) if pause.concerns(streak.id) else None
        if subject is not None:
            ranges, extras = subject.sets
            protected = extras.pausing(protected_by(known, streak.id, streak.cadence))
            effects.append(work.change(batch, message, subject, Sets(ranges, protected), "pause"))
    shown = _shown(batch, message, pause) | {"streaks": effects}
    kind: ChangeKind = "pause" if isinstance(message, PauseV1) else "pause_removed"
    work.applied(batch, message, kind, None, {"pause_id": pause.id}, shown)


def _shown(batch: Batch, message: PauseV1 | PauseRemovalV1, pause: Pause) -> dict[str, Any]:
    ids = pause.streak_ids
    return {
        "pause_id": pause.id,
        "from": key_of(DAILY, pause.first_day),
        "to": key_of(DAILY, pause.last_day),
        "streak_codes": None if ids is None else codes_of(batch, message, ids),
    }


def _span(pause: Pause) -> str:
    return f"{key_of(DAILY, pause.first_day)} to {key_of(DAILY, pause.last_day)}"
