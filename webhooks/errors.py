"""The errors of sending: a closed list."""

from __future__ import annotations


class WebhookError(Exception):
    """A fact cannot be sent this way."""


class EgressRefused(WebhookError):
    """The URL or an address behind it may not be called. A tenant may read the text."""


class SecretsError(WebhookError):
    """The key ring is missing or does not fit: the operator's fault, never a delivery's failure."""
