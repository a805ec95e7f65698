"""What the walk of one state needs beside its recorded periods: kept in the state's own row.

A plain state has none, so that its reads and writes cost nothing more (contract §7.1).
"""

from __future__ import annotations

import msgspec

from models.rules.streaks import Balance, Protection, Ranges, add, add_range, remove

_ENCODER = msgspec.json.Encoder()


class Extras(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sets beside the recorded periods, and what was published of the walk."""

    pauses: Ranges = ()  # periods
    repairs: Ranges = ()  # periods
    grants: tuple[tuple[int, int], ...] = ()  # (period, freezes), ascending by period
    plenty: Ranges = ()  # the recorded periods whose progress earns missed ones back
    # The balance after the last recorded period.
    spent: int = 0
    freezes: int = 0
    earned: int = 0
    is_perfect: bool = True
    zone: str | None = None  # the calendar that it was walked on; None: UTC
    # The period at whose start it breaks: null where that is beyond the next two years.
    breaks_at: int | None = None
    published_until: int | None = None  # the last period whose forgiveness was published
    published_earned: int = 0  # the freezes earned that were published

    @property
    def balance(self) -> Balance:
        """The balance after the last recorded period."""
        return Balance(self.spent, self.freezes, self.earned, self.is_perfect)

    def pausing(self, periods: Ranges) -> Extras:
        """The same with other paused periods."""
        return msgspec.structs.replace(self, pauses=periods)

    def repairing(self, periods: Ranges) -> Extras:
        """The same with more repaired periods."""
        repairs = self.repairs
        for start, end in periods:
            repairs = add_range(repairs, start, end)
        return msgspec.structs.replace(self, repairs=repairs)

    def granting(self, period: int, amount: int) -> Extras:
        """The same with more freezes."""
        grants = tuple(sorted((*self.grants, (period, amount))))
        return msgspec.structs.replace(self, grants=grants)

    def earning(self, period: int, *, is_plenty: bool) -> Extras:
        """The same; a period earns missed ones back, or no longer does."""
        plenty = add(self.plenty, period) if is_plenty else remove(self.plenty, period)
        return msgspec.structs.replace(self, plenty=plenty)

    def walked(self, balance: Balance, zone: str | None, breaks_at: int | None) -> Extras:
        """The same sets after another walk."""
        return msgspec.structs.replace(
            self,
            spent=balance.spent,
            freezes=balance.freezes,
            earned=balance.earned,
            is_perfect=balance.is_perfect,
            zone=zone,
            breaks_at=breaks_at,
        )

    def publishing_after(self, period: int) -> Extras:
        """The same; what was forgiven until a period counts as published."""
        return msgspec.structs.replace(self, published_until=period)

    def joined(self, other: Extras) -> Extras:
        """The repairs and freezes of both, and what was published of either."""
        both = msgspec.structs.replace(
            self,
            grants=tuple(sorted((*self.grants, *other.grants))),
            published_earned=self.published_earned + other.published_earned,
        )
        ends = (self.published_until, other.published_until)
        until = max((period for period in ends if period is not None), default=None)
        both = msgspec.structs.replace(both, published_until=until)
        return both.repairing(other.repairs)

    def published_at_most_what_is_earned(self) -> Extras:
        """The same; no more freezes count as published than were earned."""
        return msgspec.structs.replace(
            self, published_earned=min(self.published_earned, self.earned)
        )

    def earnings_published(self) -> Extras:
        """The same; all freezes earned are published."""
        return msgspec.structs.replace(self, published_earned=self.earned)

    @property
    def protections(self) -> tuple[tuple[Protection, Ranges], ...]:
        """The protected periods of this state alone, by cause."""
        causes: tuple[tuple[Protection, Ranges], ...] = (
            ("pause", self.pauses),
            ("repair", self.repairs),
        )
        return tuple(cause for cause in causes if cause[1])

    @property
    def is_empty(self) -> bool:
        """Whether no set is left: a plain definition then walks without forgiveness."""
        return not (self.pauses or self.repairs or self.grants)


_DECODER = msgspec.json.Decoder(Extras)


def encode(extras: Extras) -> str:
    """As stored in `streak_states.forgiveness`."""
    return _ENCODER.encode(extras).decode()


def decode(text: str) -> Extras:
    """Read it from its stored form."""
    return _DECODER.decode(text)
