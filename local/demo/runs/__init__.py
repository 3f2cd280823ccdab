"""Follows the runs of the DAGs, and decides as a product manager would."""
