"""Rows a second into one Redis: our writer, beside Feast's ``materialize`` and beside ``redis-benchmark``.

    python -m benchmarks.materialise [--full] [--rows N] [--rounds N]

The same Parquet file of 20 features into the same redis-server, with a time to live, an older row never replacing a
newer one. Ours is measured twice: the writer alone in a process, and the push step's code in a Spark session, where
the clock runs from the first look at the store to the swap that calls the push complete. The session's first push, in
which the JVM loads and compiles its code, is printed beside. Feast's clock is that of ``materialize`` alone. Peak
memory is that of the Python process that writes; for Spark, of the largest of its workers. ``redis-benchmark`` sends
SET with EX, values of the packed size, 100 to a pipeline.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import FeatureManifest
from benchmarks.feast import GROUP, HOUR, feast, peak_memory, run, write_rows
from benchmarks.results import Size, parse_sizes, record

BUCKET = "adrank-lake"
WARM = 3
TOKEN = "bench"  # noqa: S105
SIDES = {"writer": "writer process", "spark": "Spark push"}
FILE = lake.FEATURES(GROUP.name).revision(HOUR, 0) + "part-0.parquet"


def write(file: Path, port: int) -> dict[str, float]:
    """The writer alone, as an executor runs it."""
    import pyarrow.parquet as pq
    import redis  # noqa: F401  before the clock starts

    from adrank.online.push_state import FencingToken, StoreState
    from adrank.online.redis_writer import RedisWriter
    from adrank.runtime.retry import RetryUntil

    began = time.perf_counter()
    writer = RedisWriter.connect("127.0.0.1", port, False, RetryUntil.for_seconds(600))
    assert writer.swap(None, StoreState(token=TOKEN, fence=1, instance=writer.instance()))
    written = 0
    for batch in pq.ParquetFile(file).iter_batches(10_000, columns=["entity_id", *GROUP.names]):
        written += writer.write(FencingToken(TOKEN, 1), GROUP, HOUR + timestamps.HOUR, batch)
    return {"seconds": time.perf_counter() - began, "rows": written, "peak": peak_memory()}


def push(port: int) -> dict[str, float]:
    """The push step's code in this process's Spark session: seconds of the ``first`` push, and of later ones."""
    from contextlib import closing

    from redis import Redis

    from adrank.online.writer import RedisAddress
    from adrank.runtime.retry import RetryUntil
    from spark.application.session import session
    from spark.lake.files import LakeFiles
    from spark.online.push import Push, pushed_hour

    files = LakeFiles(spark := session("materialise"), BUCKET)
    manifest = FeatureManifest.model_validate_json(files.read(lake.FEATURES(GROUP.name).manifest(HOUR)))
    address, retry = RedisAddress("127.0.0.1", port), RetryUntil.for_seconds(600)
    target = pushed_hour(HOUR, [manifest])
    pushing = Push(spark, files, address, retry, (GROUP,), {GROUP.name: manifest}, target)
    seconds = []
    for _ in range(1 + WARM):
        with Redis(port=port) as client:
            client.flushall()
        began = time.perf_counter()
        with closing(address.open(retry)) as writer:
            pushed = pushing.run(writer)
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds[1:]), "first": seconds[0], "rows": pushed.written}


def spark_submit(directory: Path, port: int) -> dict[str, float]:
    """:func:`push` through ``spark-submit``, with the ``peak`` of the largest Python worker and ``whole`` seconds."""
    import psutil

    from localcloud.emr.spark_submit import configuration
    from localcloud.settings import LocalcloudSettings

    settings = configuration(LocalcloudSettings(lake_dir=directory, spark_java_options="-XX:+UseSerialGC"))
    words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    command = [str(Path(sys.executable).parent / "spark-submit"), *words, __file__, "push", str(port)]
    over, peak = threading.Event(), [0]

    def watch() -> None:
        while not over.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                try:
                    if "pyspark.daemon" in " ".join(process.cmdline()):
                        peak[0] = max(peak[0], process.memory_info().rss)
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        python = {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
        result: dict[str, float] = run(
            command, {**python, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        )
    finally:
        over.set()
        watcher.join()
    return {**result, "whole": time.perf_counter() - began, "peak": peak[0]}


def redis_benchmark(port: int, rows: int, size: int) -> float:
    """SET ... EX a second."""
    key, value = "f:bench:ad-__rand_int__", "v" * size
    words = ["redis-benchmark", "-p", port, "-P", 100, "-n", rows, "-r", rows, "-q", "set", key, value, "ex", 259200]
    done = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)  # noqa: S603
    rates = re.findall(r"([\d.]+) requests per second", done.stdout)
    return float(rates[-1])


def prepare(directory: Path, rows: int) -> Path:
    """The partition in a lake directory, and the same file where Feast looks for it."""
    bucket = directory / BUCKET
    file = bucket / FILE
    write_rows(file, rows)
    os.link(file, directory / "rows.parquet")
    manifest = FeatureManifest(
        group=GROUP.name,
        hour=HOUR,
        available_at=HOUR,
        fingerprint=GROUP.fingerprint,
        rows=rows,
        content_digest="bench",
        files=(file.name,),
    )
    (bucket / lake.FEATURES(GROUP.name).manifest(HOUR)).write_text(manifest.model_dump_json())
    return file


def rate(result: dict[str, float], rows: int) -> float:
    assert result["rows"] == rows, f"{result['rows']} of {rows} rows were written"
    return rows / result["seconds"]


def compare(rows: int, rounds: int) -> None:
    from redis import Redis

    from tests.support.online_stores import RedisServer

    server = RedisServer()
    client = Redis(port=server.port)
    size = 16 + 4 * len(GROUP.names)
    rates: dict[str, list[float]] = {"writer": [], "spark": [], "redis-benchmark": []}
    peaks: dict[str, list[float]] = {"writer": [], "spark": []}
    with tempfile.TemporaryDirectory(prefix="materialise-bench-") as name:
        directory = Path(name)
        file = prepare(directory, rows)
        try:
            for _ in range(rounds):
                client.flushall()
                rates["redis-benchmark"].append(redis_benchmark(server.port, rows, size))
                client.flushall()
                ours = run([sys.executable, "-m", __spec__.name, "write", str(file), str(server.port)])
                rates["writer"].append(rate(ours, rows))
                peaks["writer"].append(ours["peak"])
                client.flushall()
                pushed = spark_submit(directory, server.port)
                rates["spark"].append(rate(pushed, rows))
                peaks["spark"].append(pushed["peak"])
                assert client.dbsize() == rows + 1
                latest = {who: f"{values[-1]:,.0f}" for who, values in rates.items()}
                first = f"the session's first push {rows / pushed['first']:,.0f}"
                print(f"rows/s: {latest}, {first}; the Spark process as a whole {pushed['whole']:.1f} s", flush=True)
            medians = {who: statistics.median(values) for who, values in rates.items()}
            for who, title in SIDES.items():
                raw = medians["redis-benchmark"]
                record(f"materialise, {title}", medians[who], raw, "redis-benchmark -P 100", "rows/s")
            client.flushall()
            theirs = feast("materialise", directory, server.port)
            assert client.dbsize() == rows, f"Feast wrote {client.dbsize()} of {rows} rows"
        finally:
            client.close()
            server.stop()
    peer = rows / theirs["seconds"]
    for who, title in SIDES.items():
        record(f"materialise, {title}", medians[who], peer, "Feast materialize", "rows/s")
        peak = max(peaks[who]) / 2**20
        record(f"peak memory of materialise, {title}", peak, theirs["peak"] / 2**20, "Feast materialize", "MiB")


def main() -> None:
    """Compare, or be one of the processes that are compared."""
    result: dict[str, float] | None = None
    if sys.argv[1:2] == ["write"]:
        result = write(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["push"]:
        result = push(int(sys.argv[2]))
    if result is not None:
        print(json.dumps(result))
        return
    args = parse_sizes(
        "Materialising into Redis beside Feast and redis-benchmark.", rows=Size(200_000, 400_000), rounds=3
    )
    compare(args.rows, args.rounds)


if __name__ == "__main__":
    main()
