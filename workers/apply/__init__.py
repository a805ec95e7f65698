"""The drain: batches of writes, applied in one transaction each."""
