"""The documents' commands and examples, run as a reader runs them."""
