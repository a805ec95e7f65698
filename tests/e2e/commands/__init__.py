"""The commands, each a process, against a running service."""
