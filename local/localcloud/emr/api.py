"""Puts the executing back end behind moto's EMR API, with what moto's lacks: CancelSteps, failure details, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, BaseResponse
from moto.emr import models, responses
from moto.emr.exceptions import InvalidRequestException, ValidationException

from localcloud.emr.steps import ACTIVE, ENDED_CLUSTER, Steps
from localcloud.state.moto_backends import call_after
from localcloud.storage.lake_directory import LakeDirectory, LakeError


def _cluster(backend: Any, cluster_id: str) -> Any:
    if cluster_id not in backend.clusters:
        raise InvalidRequestException(f"Cluster id '{cluster_id}' is not valid.")
    return backend.clusters[cluster_id]


def _add_steps(cluster: Any, steps: list[Any]) -> list[Any]:
    # moto starts the first step of a cluster at once; here the queue decides.
    added = [models.Step(state="PENDING", **step) for step in steps]
    cluster.steps.extend(added)
    return added


def _status(step: Any) -> dict[str, Any]:
    reason = getattr(step, "last_state_change_reason", None)
    status: dict[str, Any] = {
        "State": step.state,
        "StateChangeReason": {"Message": reason} if reason else {},
        "Timeline": {
            "CreationDateTime": step.creation_date_time,
            "StartDateTime": step.start_date_time,
            "EndDateTime": step.end_date_time,
        },
    }
    if getattr(step, "failure_details", None):
        status["FailureDetails"] = step.failure_details
    return status


def install(steps: Steps, lake: LakeDirectory, changed: Callable[[], None]) -> None:
    """Patch moto's classes, once per process. ``changed`` is called when a cluster was made or changed."""
    run_job_flow = models.ElasticMapReduceBackend.run_job_flow
    modify_cluster = models.ElasticMapReduceBackend.modify_cluster

    def create(backend: Any, **request: Any) -> Any:
        _require_lake_uri(lake, request.get("log_uri"))
        cluster: Any = run_job_flow(backend, **request)
        cluster.localcloud_request = request
        if cluster.steps:
            cluster.steps[0].start_date_time = None
        steps.pump(cluster)
        return cluster

    def add(backend: Any, job_flow_id: str, added: list[Any]) -> list[Any]:
        cluster = _cluster(backend, job_flow_id)
        if cluster.state in ENDED_CLUSTER:
            raise ValidationException("A job flow that is shutting down, terminated, or finished may not be modified.")
        made = _add_steps(cluster, added)
        steps.pump(cluster)
        return made

    def describe_step(backend: Any, cluster_id: str, step_id: str) -> Any:
        for step in _cluster(backend, cluster_id).steps:
            if step.id == step_id:
                return step
        raise InvalidRequestException(f"Step id '{step_id}' is not valid.")

    def list_steps(
        backend: Any, cluster_id: str, step_ids: list[str] | None = None, step_states: list[str] | None = None
    ) -> list[Any]:
        newest_first = reversed(_cluster(backend, cluster_id).steps)
        return [
            step
            for step in newest_first
            if (not step_ids or step.id in step_ids) and (not step_states or step.state in step_states)
        ]

    def terminate(backend: Any, job_flow_ids: list[str]) -> list[Any]:
        clusters = [_cluster(backend, cluster_id) for cluster_id in job_flow_ids]
        if any(cluster.termination_protected for cluster in clusters):
            raise ValidationException("Could not shut down one or more job flows since they are termination protected.")
        for cluster in clusters:
            if cluster.state not in ENDED_CLUSTER:
                steps.terminate(cluster)
        return clusters

    def cancel_steps(response: Any) -> ActionResult:
        backend = response.backend
        cluster_id = response._get_param("ClusterId")
        cluster = _cluster(backend, cluster_id)
        infos = []
        for step_id in response._get_param("StepIds", []):
            step = describe_step(backend, cluster_id, step_id)
            refused = steps.cancel(cluster, step)
            outcome = {"Status": "FAILED", "Reason": refused} if refused else {"Status": "SUBMITTED"}
            infos.append({"StepId": step_id, **outcome})
        return ActionResult({"CancelStepsInfoList": infos})

    def modified(backend: Any, cluster_id: str, step_concurrency_level: int) -> Any:
        cluster = modify_cluster(backend, _cluster(backend, cluster_id).id, step_concurrency_level)
        steps.pump(cluster)
        return cluster

    for name, function in {
        "run_job_flow": create,
        "add_job_flow_steps": add,
        "describe_step": describe_step,
        "list_steps": list_steps,
        "terminate_job_flows": terminate,
        "modify_cluster": modified,
    }.items():
        setattr(models.ElasticMapReduceBackend, name, function)
    call_after(models.ElasticMapReduceBackend, "add_tags", changed)
    # moto reads EMR's region from the host name only; the signature has it, as for the other services.
    setattr(responses.ElasticMapReduceResponse, "get_region_from_url", BaseResponse.get_region_from_url)  # noqa: B010
    setattr(models.Cluster, "add_steps", _add_steps)  # noqa: B010
    setattr(models.Step, "status", property(_status))  # noqa: B010
    setattr(responses.ElasticMapReduceResponse, "cancel_steps", cancel_steps)  # noqa: B010


def _require_lake_uri(lake: LakeDirectory, uri: str | None) -> None:
    try:
        if uri:
            lake.path(uri)
    except LakeError as error:
        raise ValidationException(f"The LogUri is not valid: {error}") from error


def capture(region: str, account: str) -> list[dict[str, Any]]:
    """Every cluster and its steps as a JSON-able document."""
    documents = []
    clusters: list[Any] = list(models.emr_backends[account][region].clusters.values())
    for cluster in [cluster for cluster in clusters if hasattr(cluster, "localcloud_request")]:
        documents.append(
            {
                "id": cluster.id,
                "request": {**cluster.localcloud_request, "steps": []},
                "state": cluster.state,
                "tags": dict(cluster._tags),
                "created": cluster.creation_datetime,
                "concurrency": cluster.step_concurrency_level,
                "steps": [dict(vars(step)) for step in list(cluster.steps)],
            }
        )
    return documents


def restore(documents: list[dict[str, Any]], region: str, account: str, ended: Any) -> None:
    """Bring clusters back under their ids; steps that had not ended are failed at the time ``ended``."""
    backend = models.emr_backends[account][region]
    cluster_class: Any = models.Cluster
    for document in documents:
        request = {**document["request"], "steps": []}
        cluster = cluster_class(backend, cluster_id=document["id"], **request)
        cluster.localcloud_request = request
        cluster.state = document["state"] if document["state"] in ENDED_CLUSTER else "WAITING"
        cluster.creation_datetime = document["created"]
        cluster.step_concurrency_level = document["concurrency"]
        cluster.add_tags(document["tags"])
        for fields in document["steps"]:
            step: Any = models.Step.__new__(models.Step)
            step.__dict__.update(fields)
            if step.state in ACTIVE:
                step.state, step.end_date_time = "FAILED", ended
                step.failure_details = {"Reason": "Unknown Error.", "Message": "localcloud ended while the step ran"}
            cluster.steps.append(step)
