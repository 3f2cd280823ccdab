"""A candidate before users: a staging endpoint that answers as promised, then a share of the traffic."""

from __future__ import annotations

from typing import NamedTuple

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, TaskGroup

from adrank_airflow import xcom
from adrank_airflow.base import AdrankTask
from adrank_airflow.dag_defaults import RUN_KEY
from adrank_airflow.operators.release.endpoint import ClaimStagingOperator, DeployEndpointOperator
from adrank_airflow.operators.release.experiment_routing import StartRoutingOperator, StopRoutingOperator
from adrank_airflow.operators.release.experiment_verdict import AwaitExperimentVerdictOperator
from adrank_airflow.operators.release.serving_checks import CheckParityOperator
from adrank_airflow.operators.training.model_registry import MoveAliasOperator
from adrank_airflow.operators.verdicts import ExperimentBranchOperator, VerdictBranchOperator
from adrank_airflow.task_groups.promotion import Candidate


class Staging(NamedTuple):
    """The staging group: its setup and its end."""

    group: TaskGroup
    claim_staging: BaseOperator
    mark_staging: BaseOperator


def staging(candidate: Candidate) -> Staging:
    """The candidate on an endpoint of its own; whoever claims it has to remove it."""
    with TaskGroup("staging", tooltip="A dedicated endpoint that answers golden requests as promised") as group:
        claim_staging = ClaimStagingOperator(task_id="claim_staging")
        deploy_staging = DeployEndpointOperator(
            task_id="deploy_staging",
            role="staging",
            package_digest=candidate.package_digest,
            model_data_url=candidate.model_data_url,
        )
        check_parity = CheckParityOperator(
            task_id="check_parity",
            role="staging",
            package_digest=candidate.package_digest,
            golden_key=candidate.golden_key,
        )
        mark_staging = MoveAliasOperator(
            task_id="mark_staging", alias="staging", version=candidate.version, why="golden requests reproduced"
        )
        claim_staging >> deploy_staging >> check_parity >> mark_staging
    return Staging(group, claim_staging, mark_staging)


class AbTest(NamedTuple):
    """The experiment's group: where it is entered, its routing, its verdict, and the ways in which it ends."""

    choose_comparison: BaseOperator
    first_model: BaseOperator
    start_routing: BaseOperator
    await_verdict: AdrankTask
    stop_routing: BaseOperator
    experiment_decision: VerdictBranchOperator
    not_promoted: BaseOperator


def ab_test(candidate: Candidate, plan_inputs: AdrankTask) -> AbTest:
    """Candidate against production on live users; none where there is nothing in production.

    The decision has yet to be told what to follow on ``promote``.
    """
    with TaskGroup("ab_test", tooltip="A share of users for 24 h of event time"):
        first_model = EmptyOperator(task_id="first_model")
        start_routing = StartRoutingOperator(
            task_id="start_routing", experiment=f"ab-{RUN_KEY}", package_digest=candidate.package_digest
        )
        choose_comparison = ExperimentBranchOperator(
            task_id="choose_comparison",
            production_digest=xcom.field(plan_inputs, "production_digest"),
            compare=start_routing,
            first=first_model,
        )
        await_verdict = AwaitExperimentVerdictOperator(
            task_id="await_verdict", experiment_id=xcom.field(start_routing, "experiment_id")
        )
        stop_routing = StopRoutingOperator(task_id="stop_routing", experiment=f"ab-{RUN_KEY}")
        experiment_decision = VerdictBranchOperator(
            task_id="experiment_decision", verdict=xcom.field(await_verdict, "verdict")
        )
        not_promoted = EmptyOperator(task_id="not_promoted")
        experiment_decision.follow(not_promoted, "reject", "extend", "invalid")
        choose_comparison >> [first_model, start_routing]
        start_routing >> await_verdict >> stop_routing >> experiment_decision >> not_promoted
        await_verdict >> experiment_decision
    return AbTest(
        choose_comparison, first_model, start_routing, await_verdict, stop_routing, experiment_decision, not_promoted
    )
