"""What an operator may do to a participant: the forms, and the requests that they become. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.dashboard.form_fields import Input, body_of

Form = Mapping[str, str]
REASON = Input("reason", "Reason", is_required=True, help="For the ledger of changes.")


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the API: the segments of its path, its body, its query."""

    method: str
    steps: Sequence[str]
    body: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)
    is_scrip: bool = False  # its path is Scrip's


@dataclass(frozen=True, slots=True)
class Action:
    """Something that may be done to a participant."""

    title: str  # also its button
    text: str
    done: str
    call: Callable[[str, str, Form], Call]  # of participant, streak and form
    inputs: Sequence[Input] = ()
    is_of_streak: bool = True
    has_preview: bool = True
    effect: str = ""  # of one without a preview: what will happen, with the form's values
    is_for_active: bool | None = None  # None: for active and suspended participants
    is_last: bool = False  # the participant is gone afterwards


def _streak(participant: str, streak: str, *steps: str) -> tuple[str, ...]:
    return ("participants", participant, "streaks", streak, *steps)


def _body(action: str, form: Form) -> dict[str, Any]:
    body = body_of(ACTIONS[action].inputs, form, is_new=True)
    return body | _because(form)


def _restore(participant: str, streak: str, form: Form) -> Call:
    return Call("POST", _streak(participant, streak, "restore"), _body("restore", form))


def _add(participant: str, streak: str, form: Form) -> Call:
    body = _body("add", form)
    key = body.pop("period", None)
    body["periods"] = [key] if key else []
    return Call("POST", _streak(participant, streak, "repair"), body)


def _retract(participant: str, streak: str, form: Form) -> Call:
    key = form.get("period", "").strip() or "–"  # the API says what a key looks like
    query = _because(form) | ({"revoke": "true"} if form.get("revoke") == "yes" else {})
    return Call("DELETE", _streak(participant, streak, "periods", key), query=query)


def _because(form: Form) -> dict[str, str]:
    reason = form.get("reason", "").strip()
    return {"reason": reason} if reason else {}


def _freeze(participant: str, streak: str, form: Form) -> Call:
    return Call("POST", _streak(participant, streak, "freezes", "grant"), _body("freeze", form))


def _pause(participant: str, streak: str, form: Form) -> Call:
    return Call("POST", ("participants", participant, "pauses"), _body("pause", form))


def _points(participant: str, streak: str, form: Form) -> Call:
    return Call(
        "POST", ("points", "award"), _body("points", form) | {"participant_id": participant}
    )


def _badge(participant: str, streak: str, form: Form) -> Call:
    body = body_of(ACTIONS["badge"].inputs, form, is_new=True)
    body |= {"participant_id": participant, "metadata": _because(form)}
    return Call("POST", ("badges", "award"), body)


def _suspend(participant: str, streak: str, form: Form) -> Call:
    return _status(participant, "SUSPENDED", form)


def _activate(participant: str, streak: str, form: Form) -> Call:
    return _status(participant, "ACTIVE", form)


def _status(participant: str, status: str, form: Form) -> Call:
    body = {"external_id": participant, "status": status} | _because(form)
    return Call("POST", ("participants",), body, is_scrip=True)


def _erase(participant: str, streak: str, form: Form) -> Call:
    return Call("DELETE", ("participants", participant), query=_because(form))


_KEY = "2026-05-23 of a daily streak, 2026-W21 of a weekly, 2026-05 of a monthly one."
_DAY = "Such as 2026-05-23, in the participant's time zone."

ACTIONS: dict[str, Action] = {
    "restore": Action(
        "Restore", "The missed periods of the last break are protected, so that the count goes on.",
        "Restored", _restore,
    ),
    "add": Action(
        "Add a day", "The period is repaired: no tick was recorded in it.", "Added", _add,
        (
            Input("period", "Period", is_required=True, help=_KEY),
            Input("as", "As", "choice", choices=("recorded", "protected"), default="recorded",
                  help="recorded: it counts. protected: it does not break the streak."),
        ),
    ),
    "retract": Action(
        "Retract a day", "A recorded period is taken back with all its ticks. Badges and points"
        " already given stay.", "Retracted", _retract,
        (
            Input("period", "Period", is_required=True, help=_KEY),
            Input("revoke", "Take prizes back", "choice", choices=("no", "yes"), default="no",
                  help="yes: also badges and points of milestones that are no longer reached."),
        ),
    ),
    "freeze": Action(
        "Give a freeze", "A freeze is used for a missed period once no grace is left.",
        "Freezes given", _freeze,
        (Input("amount", "How many", "number", is_required=True, default=1),),
    ),
    "pause": Action(
        "Pause", "The days, both included, are protected in all streaks of the participant.",
        "Paused", _pause,
        (
            Input("from", "First day", is_required=True, help=_DAY),
            Input("to", "Last day", is_required=True, help=_DAY),
        ),
        is_of_streak=False,
    ),
    "points": Action(
        "Award points", "Points are added to the balance.", "Points awarded", _points,
        (Input("amount", "Points", "number", is_required=True),),
        is_of_streak=False, has_preview=False,
        effect="{amount} points are added to the balance, and a fact is sent. Tiers and challenges"
        " that they reach follow.",
    ),
    "badge": Action(
        "Award a badge", "A badge is awarded once; a second time changes nothing.",
        "Badge awarded", _badge, (Input("badge_code", "Badge code", is_required=True),),
        is_of_streak=False, has_preview=False,
        effect="The badge {badge_code} is awarded, and a fact is sent. Challenges that count it"
        " follow.",
    ),
    "suspend": Action(
        "Suspend", "A suspended participant accepts no writes.", "Suspended", _suspend,
        is_of_streak=False, has_preview=False, is_for_active=True,
        effect="Ticks, awards and points for this participant are refused until it is activated"
        " again. What is recorded stays; streaks go on and may break.",
    ),
    "activate": Action(
        "Activate", "An active participant accepts writes.", "Activated", _activate,
        is_of_streak=False, has_preview=False, is_for_active=False,
        effect="Ticks, awards and points for this participant are accepted again.",
    ),
    "erase": Action(
        "Erase", "All data of the participant is deleted. It cannot be undone.", "Erased", _erase,
        is_of_streak=False, has_preview=False, is_last=True,
        effect="Profile, streaks, badges, points, redemptions and facts of this participant are"
        " deleted for good, with all ids that were merged into it. What destinations received"
        " already stays with them. The reason stays in the audit log: it should not name the"
        " participant.",
    ),
}  # fmt: skip
OF_STREAK = {name: action for name, action in ACTIONS.items() if action.is_of_streak}
OF_PARTICIPANT = {name: action for name, action in ACTIONS.items() if not action.is_of_streak}
