"""Every page of the dashboard: what the application registers."""

from __future__ import annotations

from api.dashboard import access, definitions, delivery, overview, people, signing
from api.dashboard.frame import blueprint

MODULES = (signing, overview, definitions, people, delivery, access)

__all__ = ["MODULES", "blueprint"]
