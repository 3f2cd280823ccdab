"""What localcloud remembers over a restart."""
