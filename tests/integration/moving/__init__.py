"""Files that are imported, and exports that are imported again."""
