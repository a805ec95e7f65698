"""What operators read: audit log, metrics, diagnosis."""
