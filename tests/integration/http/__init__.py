"""What every request passes: keys, limits, bad input, tenants apart."""
