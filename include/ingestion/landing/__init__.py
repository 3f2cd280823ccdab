"""Writes the raw layout of the lake."""
