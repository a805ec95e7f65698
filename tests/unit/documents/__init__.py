"""Documents, alerts and locks: well formed, and true of the code."""
