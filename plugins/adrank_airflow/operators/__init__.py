"""Operators: each submits, attaches or decides one thing and returns ids, keys, digests and small verdicts."""
