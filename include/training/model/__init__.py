"""What is trained, measured and packed."""
