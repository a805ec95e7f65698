"""Facts, destinations and deliveries."""
