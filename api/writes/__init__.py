"""From a validated write to its answer."""
