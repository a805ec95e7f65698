"""Erase a participant and all their data (contract §5)."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from flask import Blueprint, Response

from api.http.auth import current_tenant
from api.http.describe import MessageAnswer, describe
from api.http.problems import not_found
from api.http.request_context import app_context
from api.http.responses import answer
from api.http.tenant_session import retried, transaction
from api.input.validation import participant_id_in_path, reason_in_query
from api.resources.shared import audit
from api.resources.shared.audit import AUDITED_REASON
from models import clock
from models.identity.tenants import Tenant
from models.people import erasure
from models.people.erasure import Erased
from workers.intake.client import Unavailable

blueprint = Blueprint("erasures", __name__)
log = logging.getLogger("unbroken.api")

TRIES_MAX = 3  # against a dispatcher that records data under erasure: it is done by the next try


@blueprint.delete("/participants/<participant:participant_id>")
@describe(
    "Erase a participant and all their data",
    answers={200: MessageAnswer},
    problems=("participant_not_found",),
    parameters=(AUDITED_REASON,),
)
def erase_participant(participant_id: str) -> Response:
    """Erase a participant with all ids that were merged into it. Writes accepted before are not
    applied, even if the id is unknown."""
    participant_id = participant_id_in_path(participant_id)
    mine, reason = current_tenant(), reason_in_query()
    erased = _erase(mine, participant_id, reason)
    for name in erased.names:
        _forget(mine, name)
    _wait_until(erased.erased_at)
    if not erased.was_known:
        raise not_found("participant", participant_id)
    return answer({"message": "Participant erased"})


def _erase(mine: Tenant, participant_id: str, reason: str | None) -> Erased:
    with app_context().slots.erasures.slot() as is_free:
        return retried(
            lambda: _erase_once(mine, participant_id, reason), TRIES_MAX if is_free else 0
        )


def _erase_once(mine: Tenant, participant_id: str, reason: str | None) -> Erased:
    with transaction() as connection:
        erased = erasure.erase(connection, mine, participant_id)
        if erased.was_known:
            # Without the participant's id.
            audit.record(connection, "participant.erased", **audit.because(reason))
        return erased


def _forget(mine: Tenant, participant_id: str) -> None:
    """Delete what Redis holds besides the queue: the mark of an inactive participant, and a counter
    that expires within a minute. The erasure is valid without it."""
    try:
        app_context().intake.forget(mine.id, participant_id)
    except Unavailable:
        log.warning("erased; Redis did not answer, its entries expire by themselves")


def _wait_until(instant: datetime) -> None:
    """Wait out the millisecond, so that a write after our answer gets a later id."""
    left_seconds = (instant - clock.now()).total_seconds()
    time.sleep(min(max(left_seconds, 0.0), 0.001))  # bounded in case the clock is set back
