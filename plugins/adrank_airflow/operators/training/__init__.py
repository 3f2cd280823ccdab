"""Inputs, registry and report of a training run."""
