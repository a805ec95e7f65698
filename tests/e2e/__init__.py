"""The whole stack, started as an operator starts it."""
