"""Deferrable waits with absolute deadlines."""
