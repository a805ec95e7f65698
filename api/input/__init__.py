"""Reading and checking requests, with errors that name the field."""
