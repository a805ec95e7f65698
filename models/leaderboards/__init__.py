"""Definitions of leaderboards and their entries."""
