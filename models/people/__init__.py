"""Reading, exporting and erasing participants' data."""
