"""Periodic work: sweep, deadlines, deliveries, replays, leaderboards."""
