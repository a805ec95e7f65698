"""How a command reaches the service: through the API or the database."""
