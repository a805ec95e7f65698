"""All kinds of rows that `unbroken import` reads."""

from __future__ import annotations

from collections.abc import Mapping

from api.cli.importing.holdings import BALANCES, CHALLENGES, PARTICIPANTS, REDEMPTIONS
from api.cli.importing.kinds import AWARDS, FREEZES, PAUSES, REPAIRS, TICKS, RowKind

KINDS: Mapping[str, RowKind] = {
    kind.name: kind
    for kind in (
        TICKS,
        AWARDS,
        PAUSES,
        FREEZES,
        REPAIRS,
        PARTICIPANTS,
        BALANCES,
        REDEMPTIONS,
        CHALLENGES,
    )
}
