"""The command line's own decisions."""
