"""Entry points of the EMR steps."""
