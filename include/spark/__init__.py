"""Features of ads and sellers from raw events and change data, by Spark: ``jobs`` are its entry points."""
