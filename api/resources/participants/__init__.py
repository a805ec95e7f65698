"""Participants and their data."""
