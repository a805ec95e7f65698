"""What can be shown without a server."""
