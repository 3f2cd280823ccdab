"""A user's own logs, into the same raw layout."""
