"""The inference container's variables: what a deployment renders is what the container reads."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adrank.contracts.entry_points.serving import ServedRowsEnvironment, ServingEnvironment, StoresEnvironment
from adrank.contracts.sagemaker_requests import serving_environment
from adrank.contracts.settings import Settings

SETTINGS = Settings()
RENDERED = serving_environment(SETTINGS, "digest")


def test_the_variables_keep_names_text_and_order_which_name_the_model() -> None:
    assert list(RENDERED.items()) == [
        ("ADRANK_PACKAGE_DIGEST", "digest"),
        ("REDIS_HOST", "redis.internal"),
        ("REDIS_PORT", "6379"),
        ("REDIS_TLS", "true"),
        ("REDIS_TIMEOUT_MS", "50"),
        ("FEATURES_TABLE", "adrank-features"),
        ("DYNAMODB_TIMEOUT_MS", "200"),
        ("AWS_REGION", "eu-west-1"),
        ("ADRANK_SERVED_SAMPLE", "0.01"),
        ("ADRANK_SERVED_BUCKET", "adrank-lake"),
    ]


def test_what_is_rendered_is_what_is_read() -> None:
    assert ServingEnvironment.read(RENDERED) == ServingEnvironment(package_digest="digest")
    stores = StoresEnvironment.read(RENDERED)
    assert (stores.redis_host, stores.redis_tls, stores.region) == ("redis.internal", True, "eu-west-1")
    assert ServedRowsEnvironment.read(RENDERED).share == 0.01


def test_sagemakers_own_variables_are_read_and_its_older_name_of_the_region() -> None:
    given = {"SAGEMAKER_BASE_DIR": "/ml", "SAGEMAKER_BIND_TO_PORT": "8081", "ADRANK_PACKAGE_DIGEST": "d"}
    environment = ServingEnvironment.read(given)
    assert (str(environment.model_dir), environment.port) == ("/ml/model", 8081)
    renamed = {"AWS_DEFAULT_REGION" if name == "AWS_REGION" else name: text for name, text in RENDERED.items()}
    assert StoresEnvironment.read(renamed).region == "eu-west-1"


@pytest.mark.parametrize("empty", [True, False])
def test_a_variable_that_is_missing_is_named_and_no_other_is_told(empty: bool) -> None:
    secret = {name: text for name, text in RENDERED.items() if name != "REDIS_HOST"} | {"SECRET": "hush"}
    with pytest.raises(ValidationError, match="REDIS_HOST\n  Field required") as refused:
        StoresEnvironment.read({**secret, "REDIS_HOST": ""} if empty else secret)
    assert "hush" not in str(refused.value)


def test_a_share_without_a_bucket_is_refused() -> None:
    with pytest.raises(ValidationError, match="ADRANK_SERVED_BUCKET is not set"):
        ServedRowsEnvironment.read({"ADRANK_SERVED_SAMPLE": "0.5"})


def test_only_variables_count_not_the_fields_names() -> None:
    with pytest.raises(ValidationError, match="ADRANK_PACKAGE_DIGEST"):
        ServingEnvironment.read({"package_digest": "d"})
