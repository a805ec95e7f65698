"""Participants as they are read, changed and erased."""
