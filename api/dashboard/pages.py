"""All pages of the dashboard, for the application to register."""

from __future__ import annotations

from api.dashboard import (
    definitions,
    deliveries,
    fallback,
    keys_and_audit,
    overview,
    participant_action_pages,
    participants,
    restores,
    sign_in,
)
from api.dashboard.layout import blueprint

MODULES = (
    sign_in,
    overview,
    definitions,
    participants,
    participant_action_pages,
    restores,
    deliveries,
    keys_and_audit,
    fallback,
)
to_overview = fallback.to_overview

__all__ = ["MODULES", "blueprint", "to_overview"]
