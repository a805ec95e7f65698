"""Compose, the Helm chart, backups and moves, as an operator runs them."""
