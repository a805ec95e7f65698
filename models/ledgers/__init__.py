"""Append-only ledgers: what was done, and what was refused."""
