"""Drains, deadlines, the sweep, the schema: under faults too."""
