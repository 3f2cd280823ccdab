"""Endpoint, experiment and approval."""
