"""Streak definitions, states and their deadlines."""
