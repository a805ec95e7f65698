"""Participants and what they have."""
