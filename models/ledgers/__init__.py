"""Append-only ledgers of applied and of refused writes."""
