"""Writes packed rows to DynamoDB: one conditional PutItem per row, as BatchWriteItem takes no condition."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypeVar

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from adrank.contracts.online_layout import DYNAMODB_STATE_KEY, dynamodb_key
from adrank.contracts.registry import FeatureGroup
from adrank.online.packer import Packer, keys
from adrank.online.push_state import FencingToken, PushFencedError, StateLostError, StoreState
from adrank.runtime.retry import RetryUntil

_THREADS: Final = 16
# Rows between two looks at whether the token is still the valid one.
_BATCH: Final = 512
_TRANSIENT: Final = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
_LOST_RACE: Final = "ConditionalCheckFailedException"
# Among rows of one hour, the one of the push that began later wins.
_NEWER_WINS: Final = (
    "attribute_not_exists(entity_id) OR as_of < :as_of "
    "OR (as_of = :as_of AND (attribute_not_exists(fence) OR fence <= :fence))"
)

_Answer = TypeVar("_Answer")


class DynamoDBWriter:
    """Items ``entity_id``, ``packed``, ``as_of``, ``expires_at``, ``fence``; the state is an item of its own."""

    def __init__(self, client: Any, table: str, retry: RetryUntil) -> None:
        self._client = client
        self._table = table
        self._retry = retry
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="put")

    @classmethod
    def connect(cls, table: str, region: str, retry: RetryUntil) -> Self:
        """A writer on one table."""
        import boto3
        from botocore.config import Config

        # Retries are ours: botocore's own have no limit in time.
        config = Config(max_pool_connections=_THREADS, retries={"total_max_attempts": 1})
        return cls(boto3.client("dynamodb", region_name=region, config=config), table, retry)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(cancel_futures=True)

    def state(self) -> StoreState | None:
        """What the table says of its rows; None: nothing."""
        item = self._with_retries(
            lambda: self._client.get_item(
                TableName=self._table, Key={"entity_id": {"S": DYNAMODB_STATE_KEY}}, ConsistentRead=True
            ).get("Item")
        )
        return None if item is None else StoreState.model_validate_json(item["state"]["S"])

    def require_no_eviction(self) -> None:
        """Nothing to refuse: a table drops no item before it expires."""

    def instance(self) -> str:
        """Always the same: DynamoDB loses nothing."""
        return ""

    def swap(self, old: StoreState | None, new: StoreState) -> bool:
        """Replace the state, if it still is ``old``."""
        item = {
            "entity_id": {"S": DYNAMODB_STATE_KEY},
            "token": {"S": new.token},
            "state": {"S": new.model_dump_json()},
        }
        if old is None:
            condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(entity_id)"}
        else:
            condition = {
                "ConditionExpression": "#token = :token",
                "ExpressionAttributeNames": {"#token": "token"},
                "ExpressionAttributeValues": {":token": {"S": old.token}},
            }
        # An attempt whose answer was lost may have been the one that did it.
        return self._put(item, condition) or self.state() == new

    def write(self, fencing_token: FencingToken, group: FeatureGroup, as_of: datetime, rows: Any) -> int:
        """Write an Arrow batch of rows; returns how many did not lose to a newer one."""
        packer, prefix, moment = Packer(group, as_of), dynamodb_key(group, ""), str(int(as_of.timestamp()))
        expires = str(int((as_of + timedelta(hours=group.ttl_hours)).timestamp()))
        condition = {
            "ConditionExpression": _NEWER_WINS,
            "ExpressionAttributeValues": {":as_of": {"N": moment}, ":fence": {"N": str(fencing_token.fence)}},
        }

        def put(row: tuple[bytes, bytes]) -> bool:
            item = {
                "entity_id": {"S": row[0].decode()},
                "packed": {"B": row[1]},
                "as_of": {"N": moment},
                "expires_at": {"N": expires},
                "fence": {"N": str(fencing_token.fence)},
            }
            return self._put(item, condition)

        written = 0
        for start in range(0, rows.num_rows, _BATCH):
            self._require_valid(fencing_token)
            batch = rows.slice(start, _BATCH)
            packed, size = packer.pack(batch), packer.size
            values = (packed[at : at + size] for at in range(0, len(packed), size))
            written += sum(self._threads.map(put, zip(keys(prefix, batch), values, strict=True)))
        return written

    def _require_valid(self, fencing_token: FencingToken) -> None:
        state = self.state()
        if state is None:
            raise StateLostError(f"table {self._table} lost the state of the push")
        if state.token != fencing_token.token:
            raise PushFencedError(f"another push to table {self._table} began")

    def _put(self, item: dict[str, Any], condition: dict[str, Any]) -> bool:
        """Whether the condition held."""
        try:
            self._with_retries(lambda: self._client.put_item(TableName=self._table, Item=item, **condition))
        except ClientError as error:
            if error.response["Error"]["Code"] != _LOST_RACE:
                raise
            return False
        return True

    def _with_retries(self, call: Callable[[], _Answer]) -> _Answer:
        return self._retry.call(call, _is_transient, f"table {self._table}")


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"] in _TRANSIENT
    return isinstance(error, ConnectionError | HTTPClientError)
