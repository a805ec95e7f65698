"""`unbroken doctor`: finds problems and gives advice."""
