"""The stored state, and the rules by which it changes."""
