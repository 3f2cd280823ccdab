"""Approval by a person, then blue/green to production: the only way for a package to go live."""

from __future__ import annotations

from typing import NamedTuple

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator, TaskGroup

from adrank.contracts.settings import Settings
from adrank_airflow.operators.release.approval import CheckApprovalOperator, CollectEvidenceOperator
from adrank_airflow.operators.release.endpoint import DeployEndpointOperator, RestoreProductionOperator
from adrank_airflow.operators.release.serving_checks import VerifyServingOperator
from adrank_airflow.operators.training.model_registry import PromoteAliasesOperator
from adrank_airflow.xcom import of


class Candidate(NamedTuple):
    """The package that would go live, as templates."""

    package_digest: str
    version: str
    model_data_url: str


class Approval(NamedTuple):
    """The approval group: where it is entered, and its two answers' tasks."""

    collect_evidence: BaseOperator
    approve_promotion: BaseOperator


def approval(settings: Settings, candidate: Candidate, prefix: str) -> Approval:
    """Evidence in the body, bound to the package digest; assigned approvers; silence is a no."""
    with TaskGroup("approval", tooltip="A product manager decides on the evidence"):
        collect_evidence = CollectEvidenceOperator(
            task_id="collect_evidence",
            settings=settings,
            prefix=prefix,
            package_digest=candidate.package_digest,
            version=candidate.version,
            figures={name: of("train.train_model", name) for name in ("ndcg_at_10", "logged_order_ndcg_at_10")},
            gate_verdict_key=of("gate.judge_candidate", "key"),
            experiment_verdict_key=of("ab_test.await_verdict", "key"),
            trigger_rule="none_failed_min_one_success",
        )
        approve_promotion = ApprovalOperator(
            task_id="approve_promotion",
            subject=f"Put ranking-model version {candidate.version} into production?",
            body=of("approval.collect_evidence", "body"),
            defaults="Reject",
            response_timeout=settings.approval.timeout,
            execution_timeout=None,
            assigned_users=[{"id": name, "name": name} for name in settings.approval.approvers],
        )
        collect_evidence >> approve_promotion
    return Approval(collect_evidence, approve_promotion)


class Production(NamedTuple):
    """The production group: where it is entered, and the two ways in which it ends."""

    check_approval: BaseOperator
    move_aliases: BaseOperator
    restore_production: BaseOperator


def production(settings: Settings, candidate: Candidate, prefix: str, approved: Approval) -> Production:
    """Check the approval, shift traffic, ask the endpoint what it serves, then move the aliases; or go back."""
    with TaskGroup("production", tooltip="Blue/green, verified, then the aliases"):
        check_approval = CheckApprovalOperator(
            task_id="check_approval",
            settings=settings,
            prefix=prefix,
            package_digest=candidate.package_digest,
            approved=approved.collect_evidence.output,
            answer=approved.approve_promotion.output,
        )
        shift_traffic = DeployEndpointOperator(
            task_id="shift_traffic",
            settings=settings,
            role="production",
            package_digest=candidate.package_digest,
            model_data_url=candidate.model_data_url,
        )
        verify_production = VerifyServingOperator(
            task_id="verify_production",
            settings=settings,
            role="production",
            package_digest=candidate.package_digest,
            endpoint_config=of("production.shift_traffic", "endpoint_config"),
        )
        move_aliases = PromoteAliasesOperator(
            task_id="move_aliases",
            settings=settings,
            version=candidate.version,
            why="approved and verified in production",
        )
        restore_production = RestoreProductionOperator(
            task_id="restore_production",
            settings=settings,
            approved_digest=of("production.check_approval", "package_digest"),
            trigger_rule="one_failed",
        )
        check_approval >> shift_traffic >> verify_production >> move_aliases
        [shift_traffic, verify_production, move_aliases] >> restore_production
    return Production(check_approval, move_aliases, restore_production)
