"""The online stores."""

from tests.support.online_stores import account, dynamodb, redis_server, rows, shared_redis

__all__ = ["account", "dynamodb", "redis_server", "rows", "shared_redis"]
