"""Faults to order."""
