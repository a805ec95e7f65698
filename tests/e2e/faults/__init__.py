"""Processes and servers killed, stopped and cut off under load."""
