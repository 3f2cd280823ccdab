"""What docker-compose.yaml must keep to beyond the compose specification's schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|FERNET|ACCESS_KEY)", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(_FILE|_USERS)$")
_REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]*\}")
_PASSWORD_IN_URL = re.compile(r"://[^:/@\s]+:(?!\$\{)[^@\s]+@")
_PINNED = re.compile(r":(\d[\w.\-]*|current)$")


def violations(compose: dict[str, Any]) -> list[str]:
    """Readable lines, one for each rule broken."""
    found = []
    for name, service in compose["services"].items():
        found += [f"{name}: {line}" for line in _of_service(compose, service)]
    return found


def _of_service(compose: dict[str, Any], service: dict[str, Any]) -> Iterator[str]:
    services = compose["services"]
    for other in service.get("depends_on", {}):
        if other not in services:
            yield f"depends on {other}, which is no service"
    shared = service.get("network_mode", "")
    if shared.startswith("service:") and shared.removeprefix("service:") not in services:
        yield f"shares the network of {shared}, which is no service"
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"publishes {port} beyond loopback"
    for mount in service.get("volumes", []):
        source = str(mount).split(":")[0]
        if not source.startswith((".", "/")) and source not in compose.get("volumes", {}):
            yield f"mounts {source}, which is no volume"
    image = service.get("image", "")
    if not _PINNED.search(image):
        yield f"image {image!r} is not pinned"
    if image.endswith(":current") and "build" not in service:
        yield f"image {image!r} is ours, but nothing builds it"
    if service.get("restart") != "no" and "healthcheck" not in service:
        yield "is long-lived and has no health check"
    for variable, value in service.get("environment", {}).items():
        if _SECRET_NAME.search(variable) and not _NOT_SECRET.search(variable) and not _REQUIRED.search(str(value)):
            yield f"{variable} holds a literal; it must be ${{NAME:?...}}"
        if _PASSWORD_IN_URL.search(str(value)):
            yield f"{variable} holds a password in an address"


def long_lived(compose: dict[str, Any]) -> set[str]:
    """Services that keep running, as the supervisor's programs do."""
    return {name for name, service in compose["services"].items() if service.get("restart") != "no"}
