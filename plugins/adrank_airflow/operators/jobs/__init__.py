"""Work that runs elsewhere."""
