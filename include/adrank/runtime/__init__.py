"""What long-running programs share; nothing of ours."""
