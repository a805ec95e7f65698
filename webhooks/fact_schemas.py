"""The JSON Schema of a fact: its envelope and the fields of its type, with those that several types
have. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.rules.periods import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

# -- kinds of values ---------------------------------------------------------------------------

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
AT_LEAST_ONE: Schema = {"type": "integer", "minimum": 1}
OBJECT: Schema = {"type": "object"}
PROGRESS: Schema = {
    "type": "object",
    "properties": {"value": {"type": "number"}, "target": {"type": "integer"}},
    "required": ["value", "target"],
}
NOTHING: Schema = {"type": "null"}
INSTANT: Schema = {"type": "string", "format": "date-time", "pattern": "Z$"}
UUID: Schema = {"type": "string", "format": "uuid"}
CODE: Schema = {"type": "string", "minLength": 1, "maxLength": 50}
PERIOD: Schema = {"type": "string", "enum": list(KINDS)}
PERIOD_KEY: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-(\d{2}-\d{2}|W\d{2}|\d{2})$",
}


def or_null(schema: Schema) -> Schema:
    """The schema of a value that may be null."""
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [schema["type"], "null"]} | more


@dataclass(frozen=True, slots=True)
class FactField:
    """One field of an object."""

    name: str
    schema: Schema
    meaning: str
    is_always: bool = True  # or only when there is something to say


@dataclass(frozen=True, slots=True)
class FactType:
    """One type of fact."""

    kind: str
    when: str
    payload: tuple[FactField, ...]

    @property
    def is_personal(self) -> bool:
        """Whether it is about a participant; otherwise it is about a destination."""
        return not self.kind.startswith("webhook.")


# -- fields of several types -------------------------------------------------------------------

STREAK_FIELD = FactField("streak_code", CODE, "The streak.")
PERIOD_FIELD = FactField("period", PERIOD, "The period of the streak.")
PERIOD_KEY_FIELD = FactField(
    "period_key",
    PERIOD_KEY,
    "The period recorded: `2026-05-23`, `2026-W21` or `2026-05`. A week that does not start on"
    " Monday has the date of its first day.",
)
COUNT_FIELD = FactField("count", AT_LEAST_ONE, "The current count.")
PREVIOUS_FIELD = FactField(
    "previous_count", COUNT, "The count before this change; 0 if there was none."
)
LONGEST_FIELD = FactField(
    "longest_count",
    AT_LEAST_ONE,
    "The highest count of the recorded periods. With grace, a late tick may lower it (ADR 2).",
)
GRACE_FIELD = FactField("grace_remaining", COUNT, "How many more missed periods are forgiven.")
RECORDED_AT_FIELD = FactField(
    "recorded_at", INSTANT, "The instant of the tick, which may be long ago."
)
TICK_FIELD = FactField("tick_id", UUID, "The tick: `GET /ticks/{id}`.")
LAST_FIELD = FactField("last_recorded_at", INSTANT, "The latest recorded instant.")
METADATA_FIELD = FactField(
    "metadata",
    OBJECT,
    "The metadata of the write, unchanged; absent if it had none.",
    is_always=False,
)

MOVEMENT_FIELDS = (
    FactField("amount", AT_LEAST_ONE, "The number of points."),
    FactField("balance", COUNT, "The balance afterwards."),
    FactField(
        "source",
        or_null(CODE),
        "The code of the streak, challenge or reward that caused it; null for an API call.",
    ),
    FactField("reason", or_null(TEXT), "The reason given by the caller."),
    FactField("transaction_id", UUID, "The ledger entry: `GET /points/transactions/{id}`."),
)


# -- the schema -------------------------------------------------------------------------------


def envelope(entry: FactType) -> tuple[FactField, ...]:
    """The fields around a payload."""
    who, number = (TEXT, AT_LEAST_ONE) if entry.is_personal else (NOTHING, NOTHING)
    return (
        FactField(
            "id",
            {"type": "string", "pattern": "^evt_[0-9a-f]{32}$"},
            "The fact's id, and the `webhook-id` of every attempt to deliver it.",
        ),
        FactField("type", {"const": entry.kind}, "The type of the fact."),
        FactField("occurred_at", INSTANT, "When the change was made, in UTC."),
        FactField("tenant", TEXT, "The tenant."),
        FactField(
            "mode",
            {"type": "string", "enum": ["live", "test"]},
            "Production (`live`) or sandbox (`test`) data.",
        ),
        FactField("participant_id", who, "The participant; null for facts about a destination."),
        FactField(
            "sequence",
            number,
            "Increases by one per participant, without gaps; null without a participant.",
        ),
        FactField("payload", _object(entry.payload), "The fields of the type, below."),
    )


def schema(entry: FactType) -> Schema:
    """The JSON Schema (2020-12) of a type's body. Open: fields may be added, none is removed."""
    about = {"$schema": DIALECT, "title": entry.kind, "description": entry.when}
    return about | _object(envelope(entry))


def _object(fields: tuple[FactField, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {
            field.name: field.schema | {"description": field.meaning} for field in fields
        },
        "required": [field.name for field in fields if field.is_always],
    }
