"""The schema's history, applied by `unbroken migrate` and by `unbroken up`."""
