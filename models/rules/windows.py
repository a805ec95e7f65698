"""Windows: from one instant to another, either may be open. Pure."""

from __future__ import annotations

from datetime import datetime


def is_open(starts_at: datetime | None, ends_at: datetime | None, instant: datetime) -> bool:
    """Whether an instant is in a window, which includes its start and excludes its end."""
    return (starts_at is None or starts_at <= instant) and (ends_at is None or instant < ends_at)
