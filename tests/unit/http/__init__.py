"""How refused input is described."""
