"""What the shape of the product is measured by: its counts, and the path of a tick."""
