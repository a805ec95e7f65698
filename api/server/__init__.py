"""Between the server and Flask: the event loop awaits bodies, threads handle requests."""
