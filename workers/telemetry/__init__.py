"""Metrics that add up over processes."""
