"""The connections of commands: to the API, or to the database and Redis."""
