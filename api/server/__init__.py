"""Between the server and Flask: the event loop awaits a body before a thread handles the
request."""
