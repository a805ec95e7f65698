"""What the layers may raise about data: a closed list."""

from __future__ import annotations


class ModelError(Exception):
    """The data does not allow this."""


class NotFound(ModelError):
    """No such row under this tenant."""


class CodeTaken(ModelError):
    """Another definition already uses that code for this tenant."""


class LevelTaken(ModelError):
    """Another active tier of this tenant has that level."""


class OutOfStock(ModelError):
    """More of a reward are gone than there would be."""


class TenantExists(ModelError):
    """A tenant with this slug already exists."""


class TooMany(ModelError):
    """The tenant has as many of these as it may have."""


class RoleMissing(ModelError):
    """The role of requests is not there, and the database's user may not make it."""
