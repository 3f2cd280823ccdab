"""EMR steps: find the cluster, submit a step once, find it again, read its own log."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from adrank_airflow.errors import ClusterNotFoundError

LIVE_CLUSTER: Final = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
LIVE_STEP: Final = ("PENDING", "RUNNING", "CANCEL_PENDING")
_LOG_LINES: Final = 60


class EmrStepsHook(EmrHook):
    """Steps of one named cluster."""

    def find_cluster(self, name: str) -> str:
        """Id of the live cluster called ``name``."""
        cluster_id = self.get_cluster_id_by_name(name, list(LIVE_CLUSTER))
        if cluster_id is None:
            raise ClusterNotFoundError(f"no live EMR cluster is named {name!r} (states {', '.join(LIVE_CLUSTER)})")
        return cluster_id

    def live_step(self, cluster_id: str, step_name: str) -> str | None:
        """Id of a step of that name that has not ended, which an earlier try submitted."""
        pages = self.conn.get_paginator("list_steps").paginate(ClusterId=cluster_id, StepStates=list(LIVE_STEP))
        for page in pages:
            for step in page["Steps"]:
                if step["Name"] == step_name:
                    return cast(str, step["Id"])
        return None

    def submit(self, cluster_id: str, step_name: str, command: Sequence[str]) -> str:
        """Add one step and return its id. A failing step leaves the cluster to its other tenants."""
        step = {
            "Name": step_name,
            "ActionOnFailure": "CONTINUE",
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": list(command)},
        }
        return self.add_job_flow_steps(cluster_id, [step])[0]

    def describe(self, cluster_id: str, step_id: str) -> dict[str, Any]:
        """The step as EMR describes it."""
        return cast(dict[str, Any], self.conn.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"])

    def cancel(self, cluster_id: str, step_id: str) -> None:
        """Cancel a pending step, interrupt a running one."""
        self.conn.cancel_steps(ClusterId=cluster_id, StepIds=[step_id], StepCancellationOption="TERMINATE_PROCESS")

    def missing_log_key(self, cluster_id: str, step_id: str) -> tuple[str, str] | None:
        """Bucket and key where the step's stderr will be; nothing when it is there, or is shipped nowhere."""
        location = self._log_location(cluster_id, step_id)
        if location is None or self._s3.check_for_key(f"{location[1]}stderr.gz", location[0]):
            return None
        return location[0], f"{location[1]}stderr.gz"

    def log_tail(self, cluster_id: str, step_id: str) -> list[str]:
        """The last lines of the step's stderr and stdout, from the cluster's log location."""
        location = self._log_location(cluster_id, step_id)
        if location is None:
            return ["the cluster has no LogUri: step logs are only on its nodes"]
        (bucket, prefix), s3 = location, self._s3
        lines: list[str] = []
        for stream in ("stderr", "stdout"):
            key = f"{prefix}{stream}.gz"
            if not s3.check_for_key(key, bucket):
                lines.append(f"{stream}: not shipped to s3://{bucket}/{key} yet")
                continue
            content = s3.get_key(key, bucket).get()["Body"].read()
            try:
                text = gzip.decompress(content).decode("utf-8", errors="replace")
            except (gzip.BadGzipFile, EOFError, zlib.error):
                lines.append(f"{stream}: s3://{bucket}/{key} is not readable gzip")
                continue
            lines += [f"{stream}: {line}" for line in text.splitlines()[-_LOG_LINES:]]
        return lines

    def _log_location(self, cluster_id: str, step_id: str) -> tuple[str, str] | None:
        """Bucket and prefix of the step's logs; nothing when the cluster keeps them to itself."""
        uri = self.conn.describe_cluster(ClusterId=cluster_id)["Cluster"].get("LogUri", "")
        if not uri:
            return None
        prefix = urlsplit(uri).path.strip("/")
        return urlsplit(uri).netloc, f"{prefix}/{cluster_id}/steps/{step_id}/"

    @property
    def _s3(self) -> S3Hook:
        return S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
