"""The rules: pure functions of their arguments, with no clock, database or randomness."""
