"""Lets the alarms of moto's CloudWatch and the secrets of its Secrets Manager survive a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from moto.cloudwatch import models as cloudwatch
from moto.secretsmanager import models as secretsmanager

_CHANGE_SECRETS: Final = ("create_secret", "put_secret_value", "update_secret", "delete_secret", "restore_secret")


def install(changed: Callable[[], None]) -> None:
    """Patch moto's classes, once per process."""
    put = cloudwatch.CloudWatchBackend.put_metric_alarm

    def put_metric_alarm(backend: Any, **request: Any) -> Any:
        before = backend.alarms.get(request["name"])
        alarm: Any = put(backend, **request)
        # CloudWatch knows nothing of a new alarm's metric before the first evaluation.
        alarm.state_value = before.state_value if before else "INSUFFICIENT_DATA"
        alarm.localcloud_request = request
        changed()
        return alarm

    setattr(cloudwatch.CloudWatchBackend, "put_metric_alarm", put_metric_alarm)  # noqa: B010
    call_after(cloudwatch.CloudWatchBackend, "delete_alarms", changed)
    for name in _CHANGE_SECRETS:
        call_after(secretsmanager.SecretsManagerBackend, name, changed)


def call_after(cls: Any, name: str, changed: Callable[[], None]) -> None:
    """Have ``changed`` called after every call of a method of moto's that came to a good end."""
    as_moto_does = getattr(cls, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = as_moto_does(*args, **kwargs)
        changed()
        return result

    setattr(cls, name, wrapped)


def capture(region: str, account: str) -> dict[str, Any]:
    """Metric alarms as they were asked for, and secrets, as a JSON-able document."""
    alarms: list[Any] = list(cloudwatch.cloudwatch_backends[account][region].alarms.values())
    secrets: list[Any] = list(secretsmanager.secretsmanager_backends[account][region].secrets.values())
    return {
        "alarms": [
            alarm.localcloud_request
            for alarm in alarms
            if hasattr(alarm, "localcloud_request") and not alarm.metric_data_queries
        ],
        "secrets": [vars(secret) for secret in secrets if not secret.replicas and secret.secret_binary is None],
    }


def restore(document: dict[str, Any], region: str, account: str) -> None:
    """Put alarms and secrets back; alarms begin without data."""
    backend: Any = cloudwatch.cloudwatch_backends[account][region]
    for request in document.get("alarms", []):
        backend.put_metric_alarm(**request)
    secrets = secretsmanager.secretsmanager_backends[account][region].secrets
    for fields in document.get("secrets", []):
        secret: Any = secretsmanager.FakeSecret.__new__(secretsmanager.FakeSecret)
        secret.__dict__.update(fields)
        secrets[secret.name] = secret
