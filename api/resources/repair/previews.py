"""`?preview=true` of a streak change: the result that it would have, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response
from typing_extensions import TypedDict

from api.http.auth import principal
from api.http.describe import Parameter
from api.http.key_cache import Principal
from api.http.responses import answer
from api.http.tenant_session import snapshot
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes.status import WriteLedger
from api.writes.submit import WriteStamp, rejected
from models import clock, ids
from webhooks.facts import Fact
from workers import preview
from workers.intake.client import Stale
from workers.intake.messages import StreakChangeMessage

PREVIEW = Parameter(
    "preview",
    {"type": "boolean", "default": False},
    "`true`: answer 200 with the result that the change would have now, and the facts that it would"
    " send, or with its refusal. Nothing is written or queued, and an `Idempotency-Key` is not"
    " used. Writes that wait to be applied are not seen.",
)
# Of the change that is not made.
_NOT_KEPT = {"pause": ("streak_change_id", "pause_id")}

M = TypeVar("M", bound=StreakChangeMessage)


class PreviewedFact(TypedDict):
    """A fact that a change would send."""

    type: str
    payload: dict[str, Any]


def answer_preview(make: Callable[[Principal, WriteStamp], StreakChangeMessage]) -> Response:
    """Answer with the result of a change and its facts; raise Problem where it would be refused."""
    message = make(principal(), _stamp(STREAK_CHANGES))
    with snapshot() as connection:
        try:
            found = preview.of(connection, message)
        except preview.UnknownDefinition:
            raise Stale from None  # the principal is older than the snapshot
    if "rejected" in found.answer:
        code, detail = found.answer["rejected"], found.answer.get("detail")
        raise rejected(code, message.participant_id, detail)
    gone = _NOT_KEPT.get(found.answer["kind"], ("streak_change_id",))
    result = {name: value for name, value in found.answer.items() if name not in gone}
    return answer({"result": result, "facts": list(map(_shown, found.facts))})


def _stamp(ledger: WriteLedger) -> WriteStamp:
    now_us = clock.now_us()
    write_id = next(ids.issue(now_us, principal().tenant.secret_of_ids(ledger.salt)))
    return WriteStamp(str(write_id), now_us, is_awaited=True)


def _shown(fact: Fact) -> PreviewedFact:
    return {"type": fact.type, "payload": json.loads(fact.body)["payload"]}
