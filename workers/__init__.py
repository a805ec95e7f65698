"""Work away from the request."""
