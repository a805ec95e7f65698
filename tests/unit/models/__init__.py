"""Instants, identifiers and keys."""
