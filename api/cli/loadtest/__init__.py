"""`unbroken loadtest`: load, then a check of every state and fact."""
