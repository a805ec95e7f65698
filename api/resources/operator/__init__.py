"""Health, the audit log and dead letters."""
