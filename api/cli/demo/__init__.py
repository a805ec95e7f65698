"""`unbroken demo`: ticks in, verified facts out."""
