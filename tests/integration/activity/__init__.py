"""Writes through the queue, and what they bring."""
