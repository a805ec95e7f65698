"""Queued writes and their status."""
