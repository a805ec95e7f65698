"""The documents' examples, and the API's description of itself."""
