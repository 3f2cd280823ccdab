"""Airflow extension classes of adrank: hooks speak to one system, operators compose them, triggers wait."""
