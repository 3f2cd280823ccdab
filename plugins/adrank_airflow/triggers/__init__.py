"""What runs in the triggerer while a task waits."""
