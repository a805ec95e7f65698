"""One module per resource: its routes, in one folder per area."""
