"""The errors of the layers about data: a closed list."""

from __future__ import annotations


class ModelError(Exception):
    """The data does not allow this."""


class NotFound(ModelError):
    """This tenant has no such row."""


class CodeTaken(ModelError):
    """Another definition of this tenant already uses that code."""


class LevelTaken(ModelError):
    """Another active tier of this tenant has that level."""


class OutOfStock(ModelError):
    """More of a reward were redeemed than its new total."""


class TenantExists(ModelError):
    """A tenant with this slug already exists."""


class TooMany(ModelError):
    """The tenant has the maximum number of these."""


class AlreadyRunning(ModelError):
    """Another of these runs already."""


class RoleMissing(ModelError):
    """The role of requests is missing, and the database's user may not create it."""
