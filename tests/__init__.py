"""The specification, on the real thing."""
