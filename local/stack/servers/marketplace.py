"""The marketplace's operational database, its replication user, and the secret that this user's password lies in.

``python -m stack.servers.marketplace`` makes them for ``docker-compose.yaml``: the database is libpq's environment
(``PGHOST``, ...), the replication user's password is ``CAPTURE_PASSWORD``.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import Any, Final

import boto3
import psycopg2
from botocore.exceptions import ClientError
from psycopg2 import sql

from adrank.contracts.settings import Cdc, load
from simulator.sinks import operational_database

CAPTURE_USER: Final = "adrank_capture"
"""May read the captured tables and replicate; owns nothing."""


def ensure(dsn: str, password: str) -> None:
    """Tables, publication and the user that reads them; what is there stays, the password is set."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        operational_database.ensure_schema(cursor, Cdc().publication)
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (CAPTURE_USER,))
        verb = sql.SQL("CREATE" if cursor.fetchone() is None else "ALTER")
        user = sql.Identifier(CAPTURE_USER)
        cursor.execute(sql.SQL("{} ROLE {} LOGIN REPLICATION PASSWORD {}").format(verb, user, sql.Literal(password)))
        cursor.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(user))


def keep_secret(secrets_manager: Any, secret_id: str, password: str) -> None:
    """Put the replication user's name and password where the capture process asks for them."""
    document = json.dumps({"username": CAPTURE_USER, "password": password})
    try:
        secrets_manager.create_secret(Name=secret_id, SecretString=document)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceExistsException":
            raise
        secrets_manager.put_secret_value(SecretId=secret_id, SecretString=document)


def main() -> None:
    """Make all of it."""
    password = os.environ["CAPTURE_PASSWORD"]
    ensure("", password)
    keep_secret(boto3.client("secretsmanager", region_name=load().region), load().cdc.secret_id, password)


if __name__ == "__main__":
    main()
