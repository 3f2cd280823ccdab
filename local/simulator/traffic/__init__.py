"""Live traffic against the endpoint."""
