"""The online stores."""

from tests.include.online_stores import dynamodb, redis_server, rows, shared_redis

__all__ = ["dynamodb", "redis_server", "rows", "shared_redis"]
