"""`unbroken demo`: record ticks and verify the facts they cause."""
