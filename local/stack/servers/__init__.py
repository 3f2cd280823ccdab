"""The servers of the stack."""
