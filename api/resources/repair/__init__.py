"""What may be done to a participant's streaks beside ticks (contract §7.3)."""
