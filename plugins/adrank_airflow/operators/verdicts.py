"""Judge a candidate from stored evidence, and follow a verdict through the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseBranchOperator, BaseOperator, TaskGroup

from adrank.decisions import gate
from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import ProductionMismatchError

if TYPE_CHECKING:
    from airflow.sdk import Context


class JudgeCandidateOperator(AdrankTask):
    """Apply the gate to the evidence of an evaluation job; the verdict and its inputs stay in the lake for replay.

    :param evidence_prefix: key prefix of the evaluation's output; templated.
    """

    returns = ("verdict", "reasons", "key")
    template_fields: Sequence[str] = ("evidence_prefix",)

    def __init__(self, *, evidence_prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.evidence_prefix = evidence_prefix

    def execute(self, context: Context) -> dict[str, Any]:
        """Return verdict, reasons and the key of the stored verdict."""
        del context
        evidence = gate.GateEvidence.model_validate(self.lake.read_json(f"{self.evidence_prefix}evidence.json"))
        verdict = gate.judge(evidence, self.settings.gate)
        for reason in verdict.reasons:
            self.log.info("%s: %s", verdict.verdict, reason)
        key = self.lake.write_json(
            f"{self.evidence_prefix}verdict.json",
            {
                "verdict": verdict.model_dump(mode="json"),
                "settings": self.settings.gate.model_dump(mode="json"),
                "evidence": evidence.model_dump(mode="json"),
            },
        )
        return {"verdict": verdict.verdict, "reasons": list(verdict.reasons), "key": key}


class VerdictBranchOperator(BaseBranchOperator):
    """Follow one branch of the graph per verdict; an unexpected verdict fails rather than passing for a yes.

    What to follow is said by :meth:`follow`, once it is there.

    :param verdict: templated.
    """

    template_fields: Sequence[str] = ("verdict",)

    def __init__(self, *, verdict: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verdict = verdict
        self.branches: dict[str, str] = {}

    def follow(self, branch: BaseOperator | TaskGroup, *verdicts: str) -> None:
        """Follow ``branch``, which is downstream of this task, on any of ``verdicts``."""
        self.branches |= dict.fromkeys(verdicts, branch.node_id)

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:
        """The task to follow."""
        del context
        if self.verdict not in self.branches:
            raise ValueError(f"verdict {self.verdict!r} is none of {', '.join(self.branches)}")
        return self.branches[self.verdict]


class ExperimentBranchOperator(AdrankTask, BaseBranchOperator):
    """Compare with production where there is one; a first model has nothing to be tested against.

    :param production_digest: package that the gate compared with; empty when the registry names none; templated.
    :param compare: task to follow when something is in production.
    :param first: task to follow when nothing is.
    """

    template_fields: Sequence[str] = ("production_digest",)

    def __init__(self, *, production_digest: str, compare: BaseOperator, first: BaseOperator, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.production_digest = production_digest
        self.compare = compare.task_id
        self.first = first.task_id

    def choose_branch(self, context: Context) -> str | Iterable[str] | None:
        """The task to follow; registry and endpoint must agree whether anything is in production."""
        del context
        named, endpoint = self.production_digest, self.settings.sagemaker.production_endpoint
        serves = self.endpoints.describe(endpoint) is not None
        if serves != bool(named):
            registered = f"names {named[:12]}" if named else "names nothing"
            raise ProductionMismatchError(
                f"alias production {registered}, but endpoint {endpoint} {'is' if serves else 'is not'} there: "
                "bring both together before a candidate is tested"
            )
        return self.compare if serves else self.first
