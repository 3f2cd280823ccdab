"""Airflow's own hook at its start, in the embedded stack: what every task imports is imported once.

The scheduler forks a process for each task, the processor one for each DAG file: what they find imported already costs
them nothing. Only packages of others: our own code must not have to wait for a restart.
"""

from importlib import import_module

#: Airflow takes over what is named here: nothing.
__all__: tuple[str, ...] = ()

for _name in ("airflow.providers.amazon.aws.hooks.s3", "airflow.triggers.base", "pydantic_settings"):
    import_module(_name)
