"""``python -m ingestion.billing --day ISO --bucket B --currency EUR [--lag PT3H]``: process a day's billing export.

A processing job, whose output ``verdict`` gets ``verdict.json`` (:class:`adrank.contracts.manifests.BillingVerdict`). A
refused export is an answer, not a failure of the job: the exit code is 0.
"""

from __future__ import annotations

import logging
import os
from typing import Final

from adrank.contracts.entry_points.billing import LandBilling
from adrank.runtime.sagemaker_job import processing_output, run_job
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.billing.process import NothingDeliveredError, process_export
from ingestion.landing.raw_events import LandingError

_log = logging.getLogger("ingestion.billing")


#: Of these the message is all that a reader needs.
_EXPECTED: Final = (NothingDeliveredError, LandingError, ObjectStoreError)


def main(arguments: list[str] | None = None) -> None:
    """Run as a processing job."""
    args = LandBilling.parse(arguments)

    def land() -> None:
        store = ObjectStore.connect(args.bucket, region=os.environ.get("AWS_REGION"))
        verdict = process_export(store, args.day, currency=args.currency, lag=args.lag)
        text = verdict.model_dump_json(indent=2)
        (processing_output("verdict") / "verdict.json").write_text(text, encoding="utf-8")
        _log.log(logging.ERROR if verdict.reason else logging.INFO, "%s", verdict.model_dump_json())

    run_job("processing", land, _EXPECTED)


if __name__ == "__main__":
    main()
