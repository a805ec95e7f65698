"""Definitions of badges, programs, rewards and challenges."""
