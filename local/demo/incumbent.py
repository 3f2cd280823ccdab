"""Puts the fixed-slot ranker into production as version 1, the way a platform team did before this repository existed.

Names and tags are those that the promotion operators use, so a rollback finds the incumbent as if it had been promoted.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adrank.contracts import lake, packages
from adrank.contracts.sagemaker_requests import config_request, model_request
from adrank.contracts.settings import Settings
from adrank.storage.object_store import ObjectStore
from stack.stall import ProgressWatch

_POLL: Final = 0.5


class IncumbentError(RuntimeError):
    """The production endpoint did not come into service."""


@dataclass(frozen=True)
class Incumbent:
    """The package that is in production before the first weekly run."""

    package_digest: str
    model_data_url: str
    version: str
    endpoint_config: str


def install(settings: Settings, store: ObjectStore, sagemaker: Any, registry: Any, watch: ProgressWatch) -> Incumbent:
    """Package, upload, register and deploy; waits until the endpoint is in service, while ``watch`` sees it move.

    ``store``: the lake; ``sagemaker``: a boto3 client; ``registry``: an MLflow client.
    """
    from training.package_incumbent import package_incumbent

    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "package"
        digest = package_incumbent(directory)
        url = _upload(store, directory, digest)
        version = _register(registry, settings, directory, digest, url)
    config = deploy_endpoint(sagemaker, settings, digest, url, watch)
    return Incumbent(digest, url, version, config)


def _upload(store: ObjectStore, directory: Path, digest: str) -> str:
    archive = directory.parent / "model.tar.gz"
    packages.pack(directory, archive)
    store.put(lake.MODEL_PACKAGE.of(digest), archive.read_bytes())
    store.put(lake.GOLDEN_REQUESTS.of(digest), (directory / packages.GOLDEN).read_bytes())
    return lake.uri(store.bucket, lake.MODEL_PACKAGE.of(digest))


def _register(registry: Any, settings: Settings, directory: Path, digest: str, url: str) -> str:
    name = settings.training.registered_model
    experiment = registry.get_experiment_by_name(settings.training.mlflow_experiment)
    experiment_id = (
        experiment.experiment_id if experiment else registry.create_experiment(settings.training.mlflow_experiment)
    )
    run = registry.create_run(experiment_id, run_name="fixed-slots")
    registry.set_tag(run.info.run_id, packages.DIGEST_TAG, digest)
    registry.log_artifacts(run.info.run_id, str(directory), "package")
    registry.set_terminated(run.info.run_id)
    registry.create_registered_model(name, description="Ranks the ads of a search.")
    version = registry.create_model_version(
        name,
        source=f"{run.info.artifact_uri}/package",
        run_id=run.info.run_id,
        tags={packages.DIGEST_TAG: digest, packages.DATA_TAG: url},
        description="The fixed-slot ranker: ads in the order of their purchased slots.",
        await_creation_for=0,
    ).version
    registry.set_registered_model_alias(name, "production", version)
    return str(version)


def deploy_endpoint(sagemaker: Any, settings: Settings, digest: str, url: str, watch: ProgressWatch) -> str:
    """Create model, configuration and endpoint, and wait until it serves; returns the configuration's name."""
    model = model_request(settings, digest, url)
    config = config_request(settings, "production", model["ModelName"])
    endpoint, name = settings.sagemaker.production_endpoint, str(config["EndpointConfigName"])
    sagemaker.create_model(**model)
    sagemaker.create_endpoint_config(**config)
    sagemaker.create_endpoint(
        EndpointName=endpoint, EndpointConfigName=name, Tags=[{"Key": "adrank:run", "Value": "before the first run"}]
    )
    _await_service(sagemaker, endpoint, watch)
    return name


def _await_service(sagemaker: Any, endpoint: str, watch: ProgressWatch) -> None:
    while True:
        described = sagemaker.describe_endpoint(EndpointName=endpoint)
        if described["EndpointStatus"] == "InService":
            return
        if described["EndpointStatus"] == "Failed":
            raise IncumbentError(f"{endpoint} failed: {described.get('FailureReason', 'no reason given')}")
        watch.note("the endpoint", described["EndpointStatus"])
        watch.require_progress(f"{endpoint} is still {described['EndpointStatus']}")
        time.sleep(_POLL)
