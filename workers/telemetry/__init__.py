"""Counters that add up over processes."""
