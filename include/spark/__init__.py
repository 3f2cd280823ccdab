"""EMR entry points: thin mains around the SQL in ``include/sql/features/``."""
