"""`unbroken up` and the demo, on one machine."""
