"""Freeze what a training run reads: exact lists of files, written to the lake before anything runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from adrank.contracts import lake, registry
from adrank.contracts.timestamps import HOUR, floor_hour
from adrank_airflow.base import MomentTask
from adrank_airflow.errors import NoInputError

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanTrainingInputsOperator(MomentTask):
    """List the window's partitions as of the moment and the production package to compare with.

    Only hours that closed by then are read.
    """

    returns = ("run_key", "hours", "events", "features", "ads", "billing", "production_digest", "production_model")

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the input manifests and return their URIs."""
        del context
        hook, as_of = self.lake, self.moment
        start, end = as_of - timedelta(days=self.settings.training.window_days), floor_hour(as_of)
        prefix = lake.TRAINING_INPUTS.of(lake.run_key(as_of))

        raw = hook.raw_manifests(start, end)
        if not raw:
            raise NoInputError(f"no closed raw hour between {start.isoformat()} and {end.isoformat()}")
        events = [lake.RAW_EVENTS.hour(m.hour) + file.name for m in raw for file in m.files]
        features = []
        for group in registry.load().groups:
            # The first impressions were answered with rows from before them: of hours that ended a TTL ago at most.
            oldest = raw[0].hour - timedelta(hours=group.ttl_hours) - HOUR
            for partition in hook.feature_manifests(group, oldest, end):
                at = lake.FEATURES(group.name).revision(partition.hour, partition.revision)
                features += [at + name for name in (*partition.files, lake.MANIFEST)]
        ads = hook.cdc_files("ads")
        billing = hook.billing_files(start, as_of)
        production = self.model_registry.by_alias("production")
        return {
            "run_key": lake.run_key(as_of),
            "hours": len(raw),
            "events": hook.write_input_manifest(prefix + "events.manifest", events),
            "features": hook.write_input_manifest(prefix + "features.manifest", features),
            "ads": hook.write_input_manifest(prefix + "ads.manifest", ads) if ads else "",
            "billing": hook.write_input_manifest(prefix + "billing.manifest", billing) if billing else "",
            "production_digest": production.package_digest if production else "",
            "production_model": production.model_data_url if production else "",
        }
