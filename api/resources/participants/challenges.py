"""A participant's challenges and their progress (contract §6)."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import tenant
from api.http.describe import Id, Moment, describe, shown
from api.http.responses import answer
from api.http.tenant_session import reading
from api.input.validation import participant_id_in_path
from models import clock
from models.definitions import challenges
from models.definitions.challenges import ChallengeState

blueprint = Blueprint("participant_challenges", __name__)


class ParticipantChallenge(TypedDict):
    """A challenge as one participant sees it."""

    id: Id
    code: str
    name: str
    description: str | None
    objective: dict[str, Any]
    target: int
    progress: int  # never shown above the target
    status: Literal["open", "active", "completed", "ended"]
    completed_at: Moment | None
    points: int | None
    badge_code: str | None
    starts_at: Moment | None
    ends_at: Moment | None


class ParticipantChallenges(TypedDict):
    """The challenges of a participant, and the numbers of active and completed ones."""

    participant_id: str
    challenges: list[ParticipantChallenge]
    active: int
    completed: int


@blueprint.get("/participants/<participant:participant_id>/challenges")
@describe("List a participant's challenges", answers={200: ParticipantChallenges})
def participant_challenges(participant_id: str) -> Response:
    """The challenges that count now, and those that the participant has started or completed."""
    participant_id = participant_id_in_path(participant_id)
    with reading() as connection:
        found = challenges.of_participant(connection, tenant().id, participant_id)
    entries = [_entry(state) for state in found]
    statuses = [entry["status"] for entry in entries]
    shown: ParticipantChallenges = {
        "participant_id": participant_id,
        "challenges": entries,
        "active": statuses.count("active"),
        "completed": statuses.count("completed"),
    }
    return answer(shown)


def _entry(state: ChallengeState) -> ParticipantChallenge:
    challenge = state.challenge
    return shown(
        ParticipantChallenge,
        challenge,
        objective=challenge.objective.as_json(),
        progress=min(state.progress, challenge.target),
        status=_status(state),
        completed_at=clock.isoformat_or_none(state.completed_at),
    )


def _status(state: ChallengeState) -> Literal["open", "active", "completed", "ended"]:
    """`active` once begun; `ended` if it stopped counting before completion."""
    if state.completed_at is not None:
        return "completed"
    if not state.challenge.is_active or not state.challenge.is_open_at(clock.now()):
        return "ended"
    return "active" if state.progress else "open"
