"""What a user's logs say about ads, sellers and billing, checked and ready to land. Each file is optional."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts import registry
from adrank.contracts.timestamps import micros
from ingestion.billing.export import MAX_AMOUNT
from ingestion.own_logs import columns as log_columns
from ingestion.own_logs import files
from ingestion.own_logs.files import LogFile


@dataclass(frozen=True)
class Entities:
    """Rows of ``ads`` or ``sellers`` in Debezium's spelling: times as epoch microseconds, ids unique."""

    rows: tuple[dict[str, Any], ...]
    replaced: int


@dataclass(frozen=True)
class Billing:
    """``event_id, billed_at, amount, currency``; amounts null where nothing was billed."""

    file: LogFile
    table: pa.Table


def read_ads(directory: Path) -> Entities | None:
    """``ads.*``; the last row of an ad wins. None without such a file."""
    path = files.find(directory, "ads")
    if path is None:
        return None
    file = files.read(path)
    file.require(("ad_id", "seller_id"))
    price = log_columns.number(file, "price")
    log_columns.at_least(file, "price", price, 0)
    quality = log_columns.number(file, "image_quality_score")
    minimum, maximum = next(f.range for f in registry.load().features if f.name == "image_quality_score")
    log_columns.at_least(file, "image_quality_score", quality, minimum)
    log_columns.at_most(file, "image_quality_score", quality, maximum)
    columns = {
        "ad_id": log_columns.text(file, "ad_id", required=True),
        "seller_id": log_columns.text(file, "seller_id", required=True),
        "category": log_columns.text(file, "category"),
        "title": log_columns.text(file, "title"),
        "price": price,
        "created_at": log_columns.moment(file, "created_at").cast(pa.int64()),
        "image_quality_score": quality,
    }
    return _latest("ad_id", columns)


def read_sellers(directory: Path) -> Entities | None:
    """``sellers.*``; the last row of a seller wins. None without such a file."""
    path = files.find(directory, "sellers")
    if path is None:
        return None
    file = files.read(path)
    file.require(("seller_id",))
    columns = {
        "seller_id": log_columns.text(file, "seller_id", required=True),
        "created_at": log_columns.moment(file, "created_at").cast(pa.int64()),
    }
    return _latest("seller_id", columns)


def read_billing(directory: Path) -> Billing | None:
    """``billing.*``. One currency only: amounts are added up, and adding euros to yen is an answer to nothing."""
    path = files.find(directory, "billing")
    if path is None:
        return None
    file = files.read(path)
    file.require(("event_id",))
    amount = log_columns.number(file, "amount")
    log_columns.at_least(file, "amount", amount, -float(MAX_AMOUNT))
    log_columns.at_most(file, "amount", amount, float(MAX_AMOUNT))
    table = pa.table(
        {
            "event_id": log_columns.text(file, "event_id", required=True),
            "billed_at": log_columns.moment(file, "billed_at"),
            "amount": amount,
            "currency": log_columns.text(file, "currency"),
        }
    )
    known = pc.drop_null(table["currency"])
    if len(known):
        log_columns.one_of(file, "currency", pc.fill_null(table["currency"], known[0]), (known[0].as_py(),))
    return Billing(file, table)


def snapshot(
    table: Literal["ads", "sellers"], entities: Entities | None, visible_from: datetime
) -> Iterator[dict[str, Any]]:
    """Debezium snapshot envelopes; each visible from its creation or ``visible_from``, whichever is earlier."""
    latest = micros(visible_from) // 1000
    for lsn, row in enumerate(entities.rows if entities else ()):
        created = latest if row["created_at"] is None else row["created_at"] // 1000
        source = {"table": table, "lsn": lsn}
        yield {"op": "r", "ts_ms": min(created, latest), "before": None, "after": row, "source": source}


def _latest(key: str, columns: dict[str, pa.ChunkedArray]) -> Entities:
    table = pa.table(columns)
    ids = table[key].combine_chunks().dictionary_encode()
    last = np.zeros(len(ids.dictionary), dtype=np.int64)
    np.maximum.at(last, np.asarray(ids.indices), np.arange(table.num_rows))
    rows = table.take(pa.array(np.sort(last))).to_pylist()
    return Entities(tuple(rows), replaced=table.num_rows - len(rows))
