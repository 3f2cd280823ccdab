"""docker-compose.yaml is valid by the compose specification and describes the stack that `make up` starts."""

from __future__ import annotations

import copy
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema.validators import validator_for

from deploy.resources import POOLS
from stack.environment import environment
from stack.servers.programs import programs
from stack.settings import StackSettings
from tests.images.compose import long_lived, violations

ROOT = Path(__file__).resolve().parents[2]
# check-jsonschema carries the specification's schema (Apache-2.0) and is pinned by the lock file.
_FILE = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
_SCHEMA = json.loads(_FILE.read_text())
SPECIFICATION = validator_for(_SCHEMA)(_SCHEMA)


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return loaded


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    SPECIFICATION.validate(compose)


def test_the_schema_refuses_an_unknown_key(compose: dict[str, Any]) -> None:
    compose["services"]["redis"]["prots"] = ["127.0.0.1:1:1"]
    with pytest.raises(jsonschema.ValidationError, match="prots"):
        SPECIFICATION.validate(compose)


def test_it_keeps_the_rules(compose: dict[str, Any]) -> None:
    assert violations(compose) == []


@pytest.mark.parametrize(
    ("service", "change", "expected"),
    [
        ("mlflow", {"depends_on": {"postgers": {"condition": "service_healthy"}}}, "depends on postgers"),
        ("objects", {"network_mode": "service:cloud"}, "shares the network of service:cloud"),
        ("redis", {"ports": ["8086:6379"]}, "beyond loopback"),
        ("redis", {"ports": ["0.0.0.0:8086:6379"]}, "beyond loopback"),
        ("redis", {"volumes": ["rediss:/data"]}, "mounts rediss"),
        ("redis", {"image": "redis"}, "not pinned"),
        ("redis", {"image": "redis:latest"}, "not pinned"),
        ("redis", {"healthcheck": None}, "no health check"),
        ("redis", {"image": "adrank-redis:current"}, "nothing builds it"),
        ("postgres", {"environment": {"POSTGRES_PASSWORD": "hunter2"}}, "POSTGRES_PASSWORD holds a literal"),
        ("mlflow", {"environment": {"URI": "postgresql://adrank:hunter2@postgres/x"}}, "a password in an address"),
    ],
)
def test_a_broken_rule_is_found(compose: dict[str, Any], service: str, change: dict[str, Any], expected: str) -> None:
    broken = copy.deepcopy(compose)
    for key, value in change.items():
        if value is None:
            del broken["services"][service][key]
        else:
            broken["services"][service][key] = value
    assert any(line.startswith(f"{service}: ") and expected in line for line in violations(broken))


def test_its_long_lived_services_are_the_supervisors_programs(compose: dict[str, Any], tmp_path: Path) -> None:
    # Apache Kafka has disks and retention of its own.
    of_the_embedded_broker = {"broker-objects", "broker-retention"}
    embedded = {program.name for program in programs(StackSettings(home=tmp_path))}
    assert of_the_embedded_broker < embedded
    assert long_lived(compose) == embedded - of_the_embedded_broker


def test_it_runs_the_same_modules_of_localcloud(compose: dict[str, Any], tmp_path: Path) -> None:
    by_name = {program.name: program for program in programs(StackSettings(home=tmp_path))}
    for name in ("objects", "localcloud"):
        assert compose["services"][name]["command"][1:] == list(by_name[name].command[1:])


def test_it_knows_the_same_settings_as_the_embedded_stack(compose: dict[str, Any], tmp_path: Path) -> None:
    given = compose["services"]["airflow-scheduler"]["environment"]
    embedded = environment(StackSettings(home=tmp_path))
    of_adrank = {key for key in embedded if key.startswith("ADRANK_")}
    defaults = {"ADRANK_LAKE__BUCKET", "ADRANK_EMR__CLUSTER_NAME"}
    assert {key for key in given if key.startswith("ADRANK_")} == of_adrank - defaults
    for key in ("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "AIRFLOW__CORE__EXECUTOR", "AIRFLOW__CORE__PARALLELISM"):
        assert given[key] == embedded[key]


def test_it_makes_the_same_pools(compose: dict[str, Any]) -> None:
    made = re.findall(
        r"pools set --include-deferred (\S+) (\d+)", " ".join(compose["services"]["airflow-init"]["command"])
    )
    assert {name: int(slots) for name, slots in made} == POOLS
