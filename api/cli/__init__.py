"""The command line: `unbroken` (see main.py)."""
