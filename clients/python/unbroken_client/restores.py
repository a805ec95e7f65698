"""Restores of many: jobs that give lost streaks back. They need an admin key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from unbroken_client.results import RestoreJob, read
from unbroken_client.transport import Call, Transport
from unbroken_client.wish import Wish


@dataclass(frozen=True)
class Restores:
    """Start, follow and cancel restores of many."""

    transport: Transport

    def start(
        self,
        streak_code: str,
        participant_ids: Sequence[str] | None = None,
        lost_between: tuple[str, str] | None = None,
        reason: str | None = None,
        is_preview: bool = False,
        idempotency_key: str | None = None,
    ) -> RestoreJob:
        """Start to restore the streak of listed participants, or of all who lost it between two
        days (`2026-05-23`, both included) or two instants. A preview only counts them."""
        body: dict[str, Any] = {"is_preview": is_preview, "reason": reason}
        if participant_ids is not None:
            body["participant_ids"] = list(participant_ids)
        if lost_between is not None:
            body["lost_between"] = {"from": lost_between[0], "to": lost_between[1]}
        sent = {name: value for name, value in body.items() if value is not None}
        headers = Wish(idempotency_key=idempotency_key).headers()
        path = f"/streaks/{quote(streak_code, safe='')}/restore"
        return read(RestoreJob, self.transport.call(Call("POST", path, sent, headers=headers)))

    def get(self, streak_code: str, restore_id: str) -> RestoreJob:
        """The progress of a restore of many."""
        return self._job("GET", streak_code, restore_id)

    def cancel(self, streak_code: str, restore_id: str) -> RestoreJob:
        """Restore no further streaks; restored ones stay restored."""
        return self._job("DELETE", streak_code, restore_id)

    def _job(self, method: str, streak_code: str, restore_id: str) -> RestoreJob:
        path = f"/streaks/{quote(streak_code, safe='')}/restores/{quote(restore_id, safe='')}"
        return read(RestoreJob, self.transport.call(Call(method, path)))
