"""What needs Postgres and Redis."""
