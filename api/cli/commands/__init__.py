"""Commands that need one module each."""
