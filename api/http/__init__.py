"""Shared by all requests: keys, limits, errors, responses."""
