"""Spark's way into the lake."""
