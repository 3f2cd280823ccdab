"""Development equipment: AWS control planes whose work really runs on this machine. Never in a production image."""
