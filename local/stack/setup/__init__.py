"""What a bare checkout needs."""
