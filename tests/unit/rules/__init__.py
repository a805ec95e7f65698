"""The rules, which are pure functions."""
