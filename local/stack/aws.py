"""boto3 clients of one stack's localcloud, whatever the process's own environment says."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from stack.environment import environment
from stack.settings import StackSettings


def client(stack: StackSettings, service: str) -> Any:
    """A client of ``service`` (boto3's name of it)."""
    variables = environment(stack)
    specific = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
    return boto3.session.Session().client(
        service,
        region_name=variables["AWS_REGION"],
        endpoint_url=variables.get(specific, variables["AWS_ENDPOINT_URL"]),
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, proxies={}),
    )
