"""The lake's protocol: objects with conditional writes, and leases on them."""
