"""Facts, destinations, deliveries, replays."""
