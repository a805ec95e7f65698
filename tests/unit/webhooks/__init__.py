"""What may be called, when a delivery is tried again, and how it is signed."""
