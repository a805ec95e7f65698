"""Destinations, deliveries, replays and facts."""
