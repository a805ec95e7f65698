"""Every page of the dashboard: what the application registers."""

from __future__ import annotations

from api.dashboard import access, definitions, delivery, nowhere, overview, people, signing
from api.dashboard.frame import blueprint

MODULES = (signing, overview, definitions, people, delivery, access, nowhere)
to_overview = nowhere.to_overview

__all__ = ["MODULES", "blueprint", "to_overview"]
