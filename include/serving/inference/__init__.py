"""The container that answers ranking requests."""
