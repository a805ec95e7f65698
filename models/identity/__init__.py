"""Tenants, keys and participants."""
