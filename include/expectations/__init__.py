"""Great Expectations suites over feature partitions."""
