"""Puts the executing back ends behind moto's SageMaker API, and adds what moto's lacks.

Added: UpdateEndpoint, StopTrainingJob, job environments, sorted and filtered job lists, names that are taken, newer
instance types, statuses that move.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker import models, responses
from moto.sagemaker.exceptions import ResourceInUseException, ValidationError
from moto.sagemaker.utils import arn_formatter

from localcloud.clock import now
from localcloud.cloudwatch.alarms import Alarms
from localcloud.sagemaker import rollout
from localcloud.sagemaker.endpoints import BUSY, Endpoints
from localcloud.sagemaker.jobs import JOB_TYPES, Jobs, JobType, Training
from localcloud.sagemaker.rollout import DeploymentConfigError
from localcloud.state.moto_backends import call_after

_INSTANCE_TYPE: Final = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9-]+")
_RESTORED: Final[dict[str, tuple[str, Any]]] = {
    "models": ("_models", models.Model),
    "endpoint_configs": ("endpoint_configs", models.FakeEndpointConfig),
    "endpoints": ("endpoints", models.FakeEndpoint),
    "processing_jobs": ("processing_jobs", models.FakeProcessingJob),
    "training_jobs": ("training_jobs", models.FakeTrainingJob),
}


def install(jobs: Jobs, endpoints: Endpoints, alarms: Alarms, changed: Callable[[], None]) -> None:
    """Patch moto's classes, once per process."""
    setattr(models.FakeEndpointConfig, "validate_instance_type", _validate_instance_type)  # noqa: B010
    for job_type in JOB_TYPES:
        _install_job_type(jobs, job_type)
    _install_models(changed)
    _install_endpoints(endpoints, alarms)


def _validate_instance_type(_: Any, instance_type: str) -> None:
    if not _INSTANCE_TYPE.fullmatch(instance_type):
        raise ValidationError(f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint")


def _install_job_type(jobs: Jobs, job_type: JobType) -> None:
    noun, label = f"{job_type.noun}_job", job_type.noun.capitalize()
    create_as_moto_does = getattr(responses.SageMakerResponse, f"create_{noun}")
    creating = threading.Lock()

    def all_of(response: Any) -> dict[str, Any]:
        existing: dict[str, Any] = getattr(response.sagemaker_backend, f"{noun}s")
        return existing

    def create(response: Any) -> ActionResult:
        name = response._get_param(f"{label}JobName")
        existing = all_of(response)
        with creating:
            if name in existing:
                raise ResourceInUseException(
                    f"{label} job names must be unique within an AWS account and region, "
                    f"and a job with this name already exists ({existing[name].arn})"
                )
            create_as_moto_does(response)
            job = existing[name]
            job.environment = response._get_param("Environment") or {}
            job.processing_resources = response._get_param("ProcessingResources")
            if isinstance(job_type, Training):
                # moto's inventions.
                job.algorithm_specification.pop("MetricDefinitions", None)
                job.final_metric_data_list = []
            job.secondary_status_transitions = []
            jobs.submit(job_type, job)
        return ActionResult({f"{label}JobArn": job.arn})

    def stop(response: Any) -> EmptyResult:
        name = response._get_param(f"{label}JobName")
        if name not in all_of(response):
            raise ValidationError(f"Could not find {label.lower()} job '{name}'.")
        jobs.stop(job_type, all_of(response)[name])
        return EmptyResult()

    def listing(response: Any) -> ActionResult:
        found = _selected(response, all_of(response).values(), job_type.name, job_type.status_field)
        summaries = [
            {
                f"{label}JobName": job_type.name(job),
                f"{label}JobArn": job.arn,
                "CreationTime": job.creation_time,
                f"{label}EndTime": getattr(job, job_type.end_field),
                "LastModifiedTime": job.last_modified_time,
                f"{label}JobStatus": getattr(job, job_type.status_field),
            }
            for job in found
        ]
        page, token = _page(response, summaries)
        return ActionResult({f"{label}JobSummaries": page, "NextToken": token})

    for name, function in {f"create_{noun}": create, f"stop_{noun}": stop, f"list_{noun}s": listing}.items():
        setattr(responses.SageMakerResponse, name, function)


def _selected(response: Any, items: Iterable[Any], name: Callable[[Any], str], status: str | None) -> list[Any]:
    contains = response._get_param("NameContains") or ""
    wanted = response._get_param("StatusEquals")
    found = [
        item
        for item in list(items)
        if contains in name(item)
        and (not wanted or not status or getattr(item, status) == wanted)
        and _is_of_its_time(response, item)
    ]
    keys: dict[str, Callable[[Any], Any]] = {"Name": name, "CreationTime": lambda item: item.creation_time}
    if status:
        keys["Status"] = lambda item: getattr(item, status)
    key = keys.get(response._get_param("SortBy") or "CreationTime", keys["CreationTime"])
    # AWS: ascending for jobs, descending for the rest; every caller that cares says so.
    return sorted(found, key=key, reverse=response._get_param("SortOrder") == "Descending")


def _is_of_its_time(response: Any, item: Any) -> bool:
    """Whether an item was made and changed between the moments that a request names."""
    for field, parameter in (("creation_time", "CreationTime"), ("last_modified_time", "LastModifiedTime")):
        after, before = response._get_param(f"{parameter}After"), response._get_param(f"{parameter}Before")
        moment = getattr(item, field)
        if (after and moment <= after.replace(tzinfo=None)) or (before and moment >= before.replace(tzinfo=None)):
            return False
    return True


def _page(response: Any, items: list[Any]) -> tuple[list[Any], str | None]:
    start = int(response._get_param("NextToken") or 0)
    end = start + int(response._get_param("MaxResults") or 100)
    return items[start:end], str(end) if end < len(items) else None


def _install_models(changed: Callable[[], None]) -> None:
    def list_models(response: Any) -> ActionResult:
        found = _selected(response, response.sagemaker_backend._models.values(), lambda model: model.model_name, None)
        page, token = _page(response, [model.response_object for model in found])
        return ActionResult({"Models": page, "NextToken": token})

    setattr(responses.SageMakerResponse, "list_models", list_models)  # noqa: B010
    _refuse_names_that_are_taken("create_model", "_models", "ModelName", "model")
    _refuse_names_that_are_taken(
        "create_endpoint_config", "endpoint_configs", "EndpointConfigName", "endpoint configuration"
    )
    for operation in ("model", "endpoint_config"):
        call_after(responses.SageMakerResponse, f"create_{operation}", changed)
        call_after(responses.SageMakerResponse, f"delete_{operation}", changed)
    for operation in ("add_tags", "delete_tags"):
        call_after(responses.SageMakerResponse, operation, changed)


def _refuse_names_that_are_taken(operation: str, existing: str, parameter: str, what: str) -> None:
    as_moto_does = getattr(responses.SageMakerResponse, operation)

    def create(response: Any) -> Any:
        name = response._get_param(parameter)
        taken = getattr(response.sagemaker_backend, existing)
        if name in taken:
            raise ValidationError(f'Cannot create already existing {what} "{taken[name].response_create}".')
        return as_moto_does(response)

    setattr(responses.SageMakerResponse, operation, create)


def _install_endpoints(endpoints: Endpoints, alarms: Alarms) -> None:
    create_as_moto_does = models.SageMakerModelBackend.create_endpoint
    lock = threading.Lock()

    def find(backend: Any, name: str) -> Any:
        if name not in backend.endpoints:
            arn = arn_formatter("endpoint", name, backend.account_id, backend.region_name)
            raise ValidationError(f'Could not find endpoint "{arn}".')
        return backend.endpoints[name]

    def require_settled(endpoint: Any) -> None:
        if endpoint.endpoint_status in BUSY:
            raise ValidationError(f'Cannot update in-progress endpoint "{endpoint.arn}".')

    def create(backend: Any, endpoint_name: str, endpoint_config_name: str, tags: Any) -> Any:
        with lock:
            if endpoint_name in backend.endpoints:
                arn = backend.endpoints[endpoint_name].arn
                raise ValidationError(f'Cannot create already existing endpoint "{arn}".')
            endpoint = create_as_moto_does(backend, endpoint_name, endpoint_config_name, tags)
            endpoints.create(endpoint)
        return endpoint

    def delete(backend: Any, endpoint_name: str) -> None:
        with lock:
            endpoint = find(backend, endpoint_name)
            require_settled(endpoint)
            endpoints.delete(endpoint)

    def update(response: Any) -> ActionResult:
        backend = response.sagemaker_backend
        config_name = response._get_param("EndpointConfigName")
        with lock:
            endpoint = find(backend, response._get_param("EndpointName"))
            require_settled(endpoint)
            if endpoint.endpoint_status != "InService":
                raise ValidationError(f'Endpoint "{endpoint.arn}" is {endpoint.endpoint_status}: delete and create it.')
            backend.describe_endpoint_config(config_name)
            deployment = response._get_param("DeploymentConfig")
            instances = sum(variant.get("CurrentInstanceCount") or 1 for variant in endpoint.production_variants)
            try:
                plan = rollout.plan(deployment, instances)
            except DeploymentConfigError as error:
                raise ValidationError(f"Invalid DeploymentConfig: {error}") from error
            missing = alarms.missing(plan.alarms)
            if missing:
                raise ValidationError(f"Could not find CloudWatch alarms {', '.join(missing)}")
            endpoint.last_deployment_config = deployment
            endpoints.update(endpoint, config_name, plan)
        return ActionResult({"EndpointArn": endpoint.arn})

    setattr(models.SageMakerModelBackend, "create_endpoint", create)  # noqa: B010
    setattr(models.SageMakerModelBackend, "delete_endpoint", delete)  # noqa: B010
    setattr(responses.SageMakerResponse, "update_endpoint", update)  # noqa: B010


def capture(backend: Any) -> dict[str, Any]:
    """Models, endpoint configs, endpoints and jobs as a JSON-able document."""
    return {
        noun: {name: dict(vars(item)) for name, item in list(getattr(backend, field).items())}
        for noun, (field, _) in _RESTORED.items()
    }


def restore(document: dict[str, Any], backend: Any, endpoints: Endpoints) -> None:
    """Bring everything back: endpoints start again on the config that they had, jobs that had not ended have failed."""
    for noun, (field, cls) in _RESTORED.items():
        for name, fields in document.get(noun, {}).items():
            item = cls.__new__(cls)
            item.__dict__.update(fields)
            getattr(backend, field)[name] = item
    for job_type in JOB_TYPES:
        for job in getattr(backend, f"{job_type.noun}_jobs").values():
            if getattr(job, job_type.status_field) in ("InProgress", "Stopping"):
                job.failure_reason = "InternalServerError: localcloud ended while the job ran"
                setattr(job, job_type.end_field, now())
                job_type.set_status(job, "Failed", "Training job failed")
                setattr(job, job_type.status_field, "Failed")
    for endpoint in list(backend.endpoints.values()):
        if endpoint.endpoint_status == "Deleting":
            del backend.endpoints[endpoint.endpoint_name]
        elif endpoint.endpoint_status != "Failed":
            endpoint.pending_deployment_summary = None
            endpoints.create(endpoint)
