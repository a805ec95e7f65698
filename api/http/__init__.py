"""What every request passes: body, key, limits, errors, answers."""
