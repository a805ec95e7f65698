"""The catalogue of facts: when each type is sent and what it holds. Pure.

docs/facts.md and docs/facts/*.schema.json are made from it; a test holds it against what is sent.
"""

from __future__ import annotations

from typing import get_args

from webhooks import facts
from webhooks.fact_schemas import (
    AT_LEAST_ONE,
    CODE,
    COUNT,
    COUNT_FIELD,
    FLAG,
    GRACE_FIELD,
    INSTANT,
    LAST_FIELD,
    LONGEST_FIELD,
    METADATA_FIELD,
    MOVEMENT_FIELDS,
    NOTHING,
    OBJECT,
    PERIOD_FIELD,
    PERIOD_KEY,
    PERIOD_KEY_FIELD,
    PREVIOUS_FIELD,
    PROGRESS,
    RECORDED_AT_FIELD,
    STREAK_FIELD,
    TEXT,
    TICK_FIELD,
    UUID,
    FactField,
    FactType,
    Schema,
    or_null,
)
from webhooks.facts import RepairCause

# -- the types ---------------------------------------------------------------------------------


def _about_a_destination(kind: str, when: str, reason: Schema, why: str) -> FactType:
    return FactType(
        kind,
        when,
        (
            FactField("webhook_id", UUID, "The destination."),
            FactField("description", or_null(TEXT), "Its description."),
            FactField("reason", reason, why),
            FactField(
                "failing_since",
                or_null(INSTANT),
                "When the first of the failures in a row happened.",
            ),
        ),
    )


ENTRIES = (
    FactType(
        facts.STREAK_RECORDED,
        "A tick changed a streak. A repeated tick in the same period sends no fact.",
        (
            STREAK_FIELD,
            COUNT_FIELD,
            PREVIOUS_FIELD,
            LONGEST_FIELD,
            FactField(
                "is_new_record", FLAG, "Whether `count` exceeds the longest count before this tick."
            ),
            FactField(
                "outcome",
                {
                    "type": "string",
                    "enum": ["started", "extended", "reset", "held", "backfilled"],
                },
                "`started`: the first tick; `extended`: on time; `reset`: too late, the count is 1;"
                " `held`: too late, the count stays; `backfilled`: a period before the latest one.",
            ),
            PERIOD_FIELD,
            PERIOD_KEY_FIELD,
            GRACE_FIELD,
            RECORDED_AT_FIELD,
            TICK_FIELD,
            FactField(
                "progress",
                PROGRESS,
                "Of a streak with a `target`: what the period's ticks add up to (`value`), and"
                " what it needs to count (`target`). A tick below the target sends no fact.",
                is_always=False,
            ),
            METADATA_FIELD,
        ),
    ),
    FactType(
        facts.STREAK_MILESTONE,
        "A tick reached a milestone of the streak. One tick may reach several milestones; each"
        " sends one fact, after the tick's `behavior.streak_recorded` and the `badge.awarded` of"
        " the badge. Sent once per participant, streak and milestone, or once per run if"
        " `repeat` is `each_run`.",
        (
            STREAK_FIELD,
            FactField("milestone", AT_LEAST_ONE, "The count of the milestone."),
            FactField(
                "count",
                AT_LEAST_ONE,
                "The current count; below `milestone` if a late tick completed an earlier run.",
            ),
            PREVIOUS_FIELD,
            FactField("badge_code", or_null(CODE), "The milestone's badge; null if it has none."),
            FactField(
                "is_badge_new",
                or_null(FLAG),
                "Whether this tick awarded the badge for the first time; null without a badge,"
                " and if the badge is inactive and therefore not awarded.",
            ),
            FactField(
                "points", or_null(AT_LEAST_ONE), "The points for it; null if there are none."
            ),
            PERIOD_FIELD,
            PERIOD_KEY_FIELD,
            RECORDED_AT_FIELD,
            TICK_FIELD,
        ),
    ),
    FactType(
        facts.STREAK_AT_RISK,
        "The last period that can save the streak has begun in the participant's time zone, and no"
        " tick is recorded in it yet. With `at_risk_lead_hours`, the fact is sent that many hours"
        " before this period ends. Sent once each time that the streak is at risk.",
        (
            STREAK_FIELD,
            FactField("count", AT_LEAST_ONE, "The count at risk."),
            LONGEST_FIELD,
            PERIOD_FIELD,
            GRACE_FIELD,
            LAST_FIELD,
            FactField(
                "expires_at", INSTANT, "When the streak breaks unless a tick is recorded before."
            ),
        ),
    ),
    FactType(
        facts.STREAK_BROKEN,
        "No tick was recorded in the last period that could have saved the streak. Sent once each"
        " time that the streak breaks.",
        (
            STREAK_FIELD,
            FactField(
                "count", COUNT, "The current count: 0, or the kept count of a paused streak."
            ),
            FactField("previous_count", AT_LEAST_ONE, "The count before it broke."),
            LONGEST_FIELD,
            FactField(
                "status",
                {"type": "string", "enum": ["broken", "paused"]},
                "`paused` for a streak with `reset_on_miss` false: the next tick continues from"
                " `count`.",
            ),
            PERIOD_FIELD,
            LAST_FIELD,
            FactField("broken_at", INSTANT, "When it broke; the fact may be sent a little later."),
        ),
    ),
    FactType(
        facts.STREAK_FORGIVEN,
        "A period ended without a tick in the participant's time zone, and grace or a freeze saved"
        " the streak. Sent once for each such period, for streaks whose definition has a field of"
        " forgiveness.",
        (
            STREAK_FIELD,
            FactField(
                "by",
                {"type": "string", "enum": ["grace", "freeze"]},
                "What was used up for the period.",
            ),
            COUNT_FIELD,
            PERIOD_FIELD,
            FactField("period_key", PERIOD_KEY, "The period that was forgiven."),
            GRACE_FIELD,
            FactField("freezes_remaining", COUNT, "How many freezes are left."),
        ),
    ),
    FactType(
        facts.STREAK_REMINDER_DUE,
        "The streak's `reminder` is due, and the current period is not recorded. Sent once for each"
        " participant, streak and period; not when the streak is broken, the period is protected or"
        " the participant is suspended.",
        (
            STREAK_FIELD,
            COUNT_FIELD,
            LONGEST_FIELD,
            PERIOD_FIELD,
            FactField("period_key", PERIOD_KEY, "The period that is not recorded yet."),
            GRACE_FIELD,
            LAST_FIELD,
            FactField("due_at", INSTANT, "When it was due; the fact may be sent a little later."),
            FactField("period_ends_at", INSTANT, "When the period ends."),
            FactField(
                "expires_at",
                or_null(INSTANT),
                "When the streak breaks without further ticks; null where that is more than two"
                " years ahead.",
            ),
        ),
    ),
    FactType(
        facts.STREAK_FREEZE_EARNED,
        "A tick brought the count to a multiple of `freezes.earn_every`. Sent once for each freeze"
        " earned.",
        (
            STREAK_FIELD,
            COUNT_FIELD,
            FactField("freezes_earned", AT_LEAST_ONE, "How many freezes were earned."),
            FactField("freezes_remaining", COUNT, "How many freezes are held now."),
            PERIOD_FIELD,
            PERIOD_KEY_FIELD,
            RECORDED_AT_FIELD,
            TICK_FIELD,
        ),
    ),
    FactType(
        facts.STREAK_REPAIRED,
        "A count changed without a new tick, or an earlier fact is no longer true: a late tick, a"
        " repair, a pause, an outage or changed rules filled the gap, or participants were merged.",
        (
            STREAK_FIELD,
            FactField("count", COUNT, "The current count."),
            FactField("previous_count", COUNT, "The current count before the change."),
            FactField("longest_count", COUNT, "The highest count of the recorded periods."),
            PERIOD_FIELD,
            FactField(
                "cause", {"type": "string", "enum": list(get_args(RepairCause))}, "What changed."
            ),
            FactField("reason", or_null(TEXT), "The reason given for the change; null if none."),
            FactField(
                "corrects",
                or_null({"type": "string", "pattern": "^evt_[0-9a-f]{32}$"}),
                "The id of the fact that is no longer true; null where there is none.",
            ),
        ),
    ),
    FactType(
        facts.BADGE_AWARDED,
        "A participant earned a badge for the first time. A repeated award sends no fact.",
        (
            FactField("badge_code", TEXT, "The badge."),
            FactField("badge_name", TEXT, "Its name at that time."),
            FactField("icon", or_null(TEXT), "The URL of its icon."),
            FactField(
                "rarity",
                {
                    "type": "string",
                    "enum": ["common", "uncommon", "rare", "epic", "legendary"],
                },
                "The rarity of the badge.",
            ),
            FactField("category", or_null(TEXT), "Its category."),
            FactField("earned_at", INSTANT, "When it was earned."),
            FactField("award_id", UUID, "The award: `GET /awards/{id}`."),
            METADATA_FIELD,
        ),
    ),
    FactType(
        facts.BADGE_REVOKED,
        "A badge was taken back: the tick that earned it was retracted with `revoke`.",
        (
            FactField("badge_code", TEXT, "The badge."),
            FactField("badge_name", TEXT, "Its name."),
            FactField("award_id", UUID, "The award that gave it: `GET /awards/{id}`."),
            FactField("streak_code", TEXT, "The streak whose milestone gave it."),
            FactField("milestone", AT_LEAST_ONE, "The count that is no longer reached."),
            FactField("reason", or_null(TEXT), "The reason given for the change; null if none."),
        ),
    ),
    FactType(
        facts.POINTS_AWARDED,
        "A participant received points from an award, a milestone or a challenge.",
        (
            *MOVEMENT_FIELDS,
            FactField(
                "kind",
                {"type": "string", "enum": ["award", "milestone", "challenge"]},
                "The origin: an API call, a milestone of a streak, or a challenge.",
            ),
            FactField("total_earned", AT_LEAST_ONE, "All points earned so far, including these."),
            METADATA_FIELD,
        ),
    ),
    FactType(
        facts.POINTS_DEDUCTED,
        "Points were taken from a participant by a deduction, the redemption of a reward, the"
        " purchase of freezes or a retraction.",
        (
            *MOVEMENT_FIELDS,
            FactField(
                "kind",
                {"type": "string", "enum": ["deduct", "claim", "freeze", "revocation"]},
                "The use: a deduction by an API call (`deduct`), a redemption (`claim`), freezes"
                " bought (`freeze`), or a milestone that is no longer reached (`revocation`).",
            ),
            FactField("total_spent", AT_LEAST_ONE, "All points spent so far, including these."),
            METADATA_FIELD,
        ),
    ),
    FactType(
        facts.TIER_CHANGED,
        "A participant's tier changed: by points, after their `points.awarded`, or by an"
        " assignment.",
        (
            FactField("tier_code", CODE, "The new tier."),
            FactField("tier_name", TEXT, "Its name at that time."),
            FactField("level", COUNT, "Its level. Compare levels, not codes."),
            FactField(
                "previous_tier_code", or_null(CODE), "The previous tier; null if there was none."
            ),
            FactField("previous_level", or_null(COUNT), "Its level; null if there was none."),
            FactField(
                "source",
                {"type": "string", "enum": ["points", "assigned"]},
                "Whether the tier was reached by points or assigned by an API call.",
            ),
            FactField("reason", or_null(TEXT), "The reason given with the assignment."),
            FactField("total_earned", COUNT, "All points earned so far."),
            FactField("achieved_at", INSTANT, "When the points, or the assignment, were accepted."),
            METADATA_FIELD,
        ),
    ),
    FactType(
        facts.REWARD_CLAIMED,
        "A participant redeemed a reward. Its cost has a `points.deducted` fact, sent before"
        " this one.",
        (
            FactField("reward_id", UUID, "The reward."),
            FactField("reward_code", CODE, "Its code."),
            FactField("reward_name", TEXT, "Its name at that time."),
            FactField("reward_type", TEXT, "The type of the reward."),
            FactField("points_deducted", COUNT, "The cost in points."),
            FactField("balance", COUNT, "The balance afterwards."),
            FactField("claim_id", UUID, "The redemption: `GET /claims/{id}`."),
            FactField("claimed_at", INSTANT, "When the redemption was accepted."),
            METADATA_FIELD,
        ),
    ),
    FactType(
        facts.CHALLENGE_COMPLETED,
        "A participant reached the target of a challenge. Sent once, after the facts of its"
        " prizes.",
        (
            FactField("challenge_code", CODE, "The challenge."),
            FactField("challenge_name", TEXT, "Its name at that time."),
            FactField("objective", OBJECT, "The objective of the challenge."),
            FactField("target", AT_LEAST_ONE, "The target of the challenge."),
            FactField(
                "points", or_null(AT_LEAST_ONE), "The points for it; null if there are none."
            ),
            FactField("badge_code", or_null(CODE), "The prize badge; null without one."),
            FactField(
                "is_badge_new",
                or_null(FLAG),
                "Whether the badge was awarded for the first time; null if none was awarded.",
            ),
            FactField("completed_at", INSTANT, "When it was completed."),
        ),
    ),
    _about_a_destination(
        facts.DESTINATION_FAILING,
        "A destination failed several times in a row and is parked: only probes are sent, and its"
        " facts wait. Sent to the tenant's other destinations, never to the destination itself.",
        NOTHING,
        "Null.",
    ),
    _about_a_destination(
        facts.DESTINATION_DISABLED,
        "A destination was disabled automatically. Its pending facts wait until it is enabled.",
        {"type": "string", "enum": ["gone", "asked", "failing"]},
        "`gone`: it answered 410; `asked`: it answered `webhook-delivery: disable`; `failing`:"
        " it failed for five days.",
    ),
    _about_a_destination(
        facts.DESTINATION_RECOVERED,
        "A failing destination answers again; its pending facts are sent.",
        NOTHING,
        "Null.",
    ),
)
