"""Facts leaving the service."""
