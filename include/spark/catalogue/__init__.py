"""Change data to the history of ads and sellers."""
