"""Windows: from an instant to another, open where it has none. Pure."""

from __future__ import annotations

from datetime import datetime


def is_open(starts_at: datetime | None, ends_at: datetime | None, instant: datetime) -> bool:
    """Whether an instant lies in a window: its start does, its end does not."""
    return (starts_at is None or starts_at <= instant) and (ends_at is None or instant < ends_at)
