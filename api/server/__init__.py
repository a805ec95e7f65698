"""Between the server and Flask: bodies are awaited before a thread is taken."""
