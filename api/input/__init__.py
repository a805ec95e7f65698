"""What callers send: read, checked, and named where it is wrong."""
