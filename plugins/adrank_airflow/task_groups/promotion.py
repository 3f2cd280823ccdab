"""Approval by a person, then blue/green to production: the only way for a package to go live."""

from __future__ import annotations

from typing import NamedTuple

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator, TaskGroup

from adrank.contracts.settings import Settings
from adrank_airflow import xcom
from adrank_airflow.base import AdrankTask
from adrank_airflow.operators.release.approval import CheckApprovalOperator, CollectEvidenceOperator
from adrank_airflow.operators.release.endpoint import DeployEndpointOperator, RestoreProductionOperator
from adrank_airflow.operators.release.serving_checks import VerifyServingOperator
from adrank_airflow.operators.training.model_registry import PromoteAliasesOperator


class Candidate(NamedTuple):
    """The package that would go live, as templates."""

    package_digest: str
    version: str
    model_data_url: str
    golden_key: str

    @classmethod
    def registered_by(cls, register_package: AdrankTask) -> Candidate:
        """What that task registered."""
        return cls(*(xcom.field(register_package, name) for name in cls._fields))


class Approval(NamedTuple):
    """The approval group: where it is entered, and where the approver answers."""

    collect_evidence: AdrankTask
    approve_promotion: BaseOperator


def approval(
    settings: Settings,
    candidate: Candidate,
    prefix: str,
    *,
    train_model: AdrankTask,
    judge_candidate: AdrankTask,
    await_verdict: AdrankTask,
) -> Approval:
    """Evidence in the body, bound to the package digest; assigned approvers; silence is a no.

    :param await_verdict: had the experiment's verdict; skipped where there was no experiment.
    """
    with TaskGroup("approval", tooltip="A product manager decides on the evidence"):
        collect_evidence = CollectEvidenceOperator(
            task_id="collect_evidence",
            prefix=prefix,
            package_digest=candidate.package_digest,
            version=candidate.version,
            figures={name: xcom.field(train_model, name) for name in ("ndcg_at_10", "logged_order_ndcg_at_10")},
            gate_verdict_key=xcom.field(judge_candidate, "key"),
            experiment_verdict_key=xcom.field_or_empty(await_verdict, "key"),
            trigger_rule="none_failed_min_one_success",
        )
        approve_promotion = ApprovalOperator(
            task_id="approve_promotion",
            subject=f"Put ranking-model version {candidate.version} into production?",
            body=xcom.field(collect_evidence, "body"),
            defaults="Reject",
            response_timeout=settings.approval.timeout,
            execution_timeout=None,
            assigned_users=[{"id": name, "name": name} for name in settings.approval.approvers],
        )
        collect_evidence >> approve_promotion
    return Approval(collect_evidence, approve_promotion)


class Production(NamedTuple):
    """The production group: where it is entered, and the two ways in which it ends."""

    check_approval: AdrankTask
    move_aliases: AdrankTask
    restore_production: BaseOperator


def production(candidate: Candidate, prefix: str, approved: Approval) -> Production:
    """Check the approval, shift traffic, ask the endpoint what it serves, then move the aliases; or go back."""
    with TaskGroup("production", tooltip="Blue/green, verified, then the aliases"):
        check_approval = CheckApprovalOperator(
            task_id="check_approval",
            prefix=prefix,
            package_digest=candidate.package_digest,
            approved=approved.collect_evidence.output,
            answer=approved.approve_promotion.output,
        )
        shift_traffic = DeployEndpointOperator(
            task_id="shift_traffic",
            role="production",
            package_digest=candidate.package_digest,
            model_data_url=candidate.model_data_url,
        )
        verify_production = VerifyServingOperator(
            task_id="verify_production",
            role="production",
            package_digest=candidate.package_digest,
            endpoint_config=xcom.field(shift_traffic, "endpoint_config"),
        )
        move_aliases = PromoteAliasesOperator(
            task_id="move_aliases",
            version=candidate.version,
            why="approved and verified in production",
        )
        restore_production = RestoreProductionOperator(
            task_id="restore_production",
            approved_digest=xcom.field_or_empty(check_approval, "package_digest"),
            trigger_rule="one_failed",
        )
        check_approval >> shift_traffic >> verify_production >> move_aliases
        [shift_traffic, verify_production, move_aliases] >> restore_production
    return Production(check_approval, move_aliases, restore_production)
