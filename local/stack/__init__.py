"""The embedded stack: starts, watches and stops the servers that the lifecycle needs on one machine."""
