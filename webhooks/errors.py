"""What may go wrong on the way out: a closed list."""

from __future__ import annotations


class WebhookError(Exception):
    """A fact cannot leave the service this way."""


class EgressRefused(WebhookError):
    """The URL or an address behind it may not be called. The text is fit for the tenant."""


class SecretsError(WebhookError):
    """The key ring is missing or does not fit: an operator's matter, never a delivery's failure."""
