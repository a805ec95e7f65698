"""The streak in a path."""

from __future__ import annotations

from api.http.auth import tenant
from api.http.problems import not_found
from api.http.tenant_session import reading
from models.errors import NotFound
from models.streaks import states
from models.streaks.states import Streak


def streak_in_path(code: str) -> Streak:
    """The definition in a path, active or not; 404."""
    with reading() as connection:
        try:
            return states.definitions.by_code(connection, tenant().id, code)
        except NotFound:
            raise not_found("streak", code) from None
