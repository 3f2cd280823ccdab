"""The incumbent bears the names that a rollback would give it."""

import pytest

from adrank.contracts.settings import Settings
from adrank_airflow.hooks import endpoints, model_registry
from adrank_airflow.hooks.endpoints import EndpointsHook
from demo import incumbent

DIGEST, URL = "ab" * 32, "s3://adrank-lake/models/abab/model.tar.gz"


class Cloud:
    """SageMaker, where everything that is asked for exists already."""

    def describe_model(self, ModelName: str) -> None:  # noqa: N803
        pass

    def describe_endpoint_config(self, EndpointConfigName: str) -> None:  # noqa: N803
        pass


def test_model_and_configuration_are_those_of_the_promotion_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EndpointsHook, "conn", Cloud())
    settings = Settings()
    hook = EndpointsHook(aws_conn_id="aws_default", region_name="eu-west-1")
    model = hook.ensure_model(settings, DIGEST, URL)
    sagemaker = settings.sagemaker
    config = hook.ensure_config(model, "production", sagemaker.serving_instance, sagemaker.production_instances)
    assert incumbent.model_name(settings, DIGEST, URL) == model
    assert incumbent.config_name(settings, model) == config


def test_the_container_is_told_the_same() -> None:
    settings = Settings()
    assert incumbent.serving_environment(settings, DIGEST) == endpoints.serving_environment(settings, DIGEST)


def test_tags_are_those_that_the_registry_hook_reads() -> None:
    assert (model_registry.DIGEST_TAG, model_registry.DATA_TAG) == (incumbent.DIGEST_TAG, incumbent.DATA_TAG)
