"""Merges: two ids of one person become one participant (contract §7.3)."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from api.http.auth import require_admin
from api.http.describe import describe
from api.http.key_cache import Principal
from api.http.problems import invalid_field
from api.http.rate_limits import render_refusal
from api.input.validation import Body, ParticipantId, ReasonText, participant_id_in_path
from api.resources.repair.streak_changes import (
    PARAMETERS_WITHOUT_PREVIEW,
    PROBLEMS,
    StreakChangeAccepted,
    StreakChanged,
    StreakChangesAccepted,
    by,
    queue,
)
from api.resources.shared.write_ledgers import STREAK_CHANGES
from api.writes import batch, submit
from api.writes.batch import BATCH_MAX
from api.writes.submit import QueuedWrite, WriteStamp
from workers.intake.client import MergeV1

blueprint = Blueprint("merges", __name__)
blueprint.register_error_handler(Exception, render_refusal)


class MergeBody(Body):
    """The participant that is merged, and why."""

    from_id: Annotated[ParticipantId, Field(alias="from")]
    reason: ReasonText | None = None


class MergeItem(MergeBody):
    """A merge of a batch: `from` into `participant_id`."""

    participant_id: ParticipantId


class MergeBatch(Body):
    """A batch of merges; each is validated separately."""

    merges: Annotated[list[MergeItem], Field(min_length=1, max_length=BATCH_MAX)]


_EXAMPLE = {"from": "guest_7f3a", "reason": "Signed up"}


@blueprint.post("/participants/<participant:participant_id>/merge")
@describe(
    "Merge another participant into this one",
    answers={200: StreakChanged, 202: StreakChangeAccepted},
    body=MergeBody,
    example=_EXAMPLE,
    problems=("participant_not_found", "merge_in_circle", "already_merged", *PROBLEMS),
    parameters=PARAMETERS_WITHOUT_PREVIEW,
)
@require_admin
@submit.on_current_configuration
def merge_participant(participant_id: str) -> Response:
    """Give this participant all that the other one has, and make the other's id its alias: whatever
    names the alias counts for this participant. Counts are as if it had recorded every tick."""
    participant_id = participant_id_in_path(participant_id)
    posted = submit.read(MergeBody)

    def make(caller: Principal, stamp: WriteStamp) -> MergeV1:
        return _message(caller, posted, stamp, participant_id)

    return queue("merge", participant_id, make)


@blueprint.post("/merges/batch")
@describe(
    "Merge up to 1,000 participants",
    answers={202: StreakChangesAccepted},
    body=MergeBatch,
    example={"merges": [{"participant_id": "user_42", **_EXAMPLE}]},
    problems=batch.PROBLEMS,
    parameters=batch.PARAMETERS,
    content_types=(batch.JSON, batch.LINES),
)
@require_admin
def merge_participants() -> Response:
    """Accept up to 1,000 merges, each with its own result."""
    return batch.post(MERGE, "merges")


def _message(
    caller: Principal, posted: MergeBody, stamp: WriteStamp, participant_id: str
) -> MergeV1:
    if posted.from_id == participant_id:
        raise invalid_field("from", "unexpected", "must be another participant")
    return MergeV1(
        caller.tenant.id,
        stamp.id,
        participant_id,
        posted.from_id,
        posted.reason,
        stamp.is_awaited,
        by(),
        stamp.is_silent,
    )


def _item(caller: Principal, posted: MergeItem, stamp: WriteStamp) -> MergeV1:
    return _message(caller, posted, stamp, posted.participant_id)


MERGE = QueuedWrite(STREAK_CHANGES, MergeItem, _item)
