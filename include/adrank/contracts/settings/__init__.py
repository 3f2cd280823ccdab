"""Every deployment difference, in one frozen model.

Read from the environment: ``ADRANK_<FIELD>`` or ``ADRANK_<SECTION>__<FIELD>`` (lists and mappings as JSON). No I/O, no
secrets: systems that need a password are named by connection id. An impossible or unknown value fails at parse time.
"""

from adrank.contracts.settings.features import Audit, Emr, Expectations, Lake, Online
from adrank.contracts.settings.ingestion import Billing, Cdc, Events
from adrank.contracts.settings.model import Gate, Labels, SageMaker, Training
from adrank.contracts.settings.release import Approval, ExperimentPlan, Rollout
from adrank.contracts.settings.settings import Airflow, Settings, load

__all__ = [
    "Airflow",
    "Approval",
    "Audit",
    "Billing",
    "Cdc",
    "Emr",
    "Events",
    "Expectations",
    "ExperimentPlan",
    "Gate",
    "Labels",
    "Lake",
    "Online",
    "Rollout",
    "SageMaker",
    "Settings",
    "Training",
    "load",
]
