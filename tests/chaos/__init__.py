"""Chaos: the whole stack under load, killed, cut and stopped, and then compared with the truth."""
