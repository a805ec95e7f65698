"""What admins define, and leaderboards."""
