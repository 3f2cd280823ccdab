"""Operators of the feature pipelines."""
