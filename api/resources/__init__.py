"""One module per resource with its routes, in one folder per area."""
