"""`unbroken loadtest`: send load, then check every state and fact."""
