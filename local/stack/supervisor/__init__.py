"""Supervisor: its configuration, its client, and what it left."""
