"""How much a drain reads."""
