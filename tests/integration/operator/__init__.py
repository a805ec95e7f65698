"""Health, logs, metrics, the audit log, dead letters, doctor."""
