"""The inference container of an endpoint, and the router that chooses between endpoints."""
