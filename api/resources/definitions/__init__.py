"""Definitions that admins manage."""
