"""The lake bucket as tasks see it: small JSON documents, manifests and key listings. Data itself never passes here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import AuditManifest, BillingManifest, CdcManifest, FeatureManifest, RawManifest
from adrank.contracts.registry import FeatureGroup
from adrank.storage import watermarks
from adrank.storage.object_store import ObjectStore
from adrank_airflow.errors import NoInputError

_READERS: Final = 16
_Manifest = TypeVar("_Manifest", bound=BaseModel)


class LakeHook(ObjectStore):
    """The lake's bucket, around the client of an AWS connection."""

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        return lake.uri(self.bucket, key)

    def read_json(self, key: str) -> Any:
        """The object's content, parsed."""
        return json.loads(self.get(key))

    def write_json(self, key: str, document: object) -> str:
        """Write a JSON document, stable byte for byte, and return its key."""
        body = json.dumps(document, indent=2, sort_keys=True, default=str).encode()
        self.put(key, body, "application/json")
        return key

    def raw_manifests(self, start: datetime, end: datetime) -> list[RawManifest]:
        """Manifests of the closed raw hours in ``[start, end)``, in order; hours that are not there are left out."""
        return self._manifests(RawManifest, (lake.RAW_EVENTS.manifest(hour) for hour in timestamps.hours(start, end)))

    def feature_manifests(self, group: FeatureGroup, start: datetime, end: datetime) -> list[FeatureManifest]:
        """Manifests of all revisions of a group's partitions in ``[start, end)``, in order of hour and revision."""
        features = lake.FEATURES(group.name)
        with ThreadPoolExecutor(_READERS) as readers:
            prefixes = [features.day(day) for day in timestamps.days(start, end)]
            listed = readers.map(lambda prefix: list(self.keys(prefix)), prefixes)
        hours = {features.hour(hour) for hour in timestamps.hours(start, end)}
        manifests = (key for keys in listed for key in keys if key.endswith(lake.MANIFEST))
        found = self._manifests(FeatureManifest, (key for key in manifests if key.rsplit("rev=", 1)[0] in hours))
        return sorted(found, key=lambda manifest: (manifest.hour, manifest.revision))

    def audits(self, start: datetime, end: datetime) -> list[AuditManifest]:
        """What the audits of the hours in ``[start, end)`` found, in order; hours without one are left out."""
        return self._manifests(AuditManifest, (lake.audit(hour) for hour in timestamps.hours(start, end)))

    def billing_files(self, start: datetime, as_of: datetime) -> list[str]:
        """Keys of the exports of the days from ``start`` on, each with its manifest, as they were known ``as_of``."""
        days = (lake.RAW_BILLING.manifest(day) for day in timestamps.days(start, as_of))
        landed = (self._as_of(manifest, as_of) for manifest in self._manifests(BillingManifest, days))
        return [key for manifest in landed if manifest for key in _billing_keys(manifest)]

    def cdc_files(self, table: str) -> list[str]:
        """Keys of all change data of a table that manifests name, in order."""
        keys = sorted(key for key in self.keys(lake.RAW_CDC(table).prefix) if key.endswith(lake.MANIFEST))
        hours = self._manifests(CdcManifest, keys)
        return [lake.RAW_CDC(table).hour(hour.hour) + file.name for hour in hours for file in hour.files]

    def watermark(self) -> datetime:
        """Event time up to which the raw log is whole: that of the last closed hour."""
        watermark = watermarks.raw_watermark(self)
        if watermark is None:
            raise NoInputError(f"{self.uri(lake.RAW_EVENTS.prefix)} holds no closed hour")
        return watermark

    def write_input_manifest(self, key: str, keys: Iterable[str]) -> str:
        """Write a SageMaker input manifest that names exactly ``keys``, and return its URI."""
        listed = sorted(keys)
        if not listed:
            raise NoInputError(f"nothing to list in {self.uri(key)}")
        self.write_json(key, [{"prefix": self.uri("")}, *listed])
        return self.uri(key)

    def _manifests(self, model: type[_Manifest], keys: Iterable[str]) -> list[_Manifest]:
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(self.find, keys)
            return [model.model_validate_json(body) for body in found if body is not None]

    def _as_of(self, manifest: BillingManifest, as_of: datetime) -> BillingManifest | None:
        while manifest.landed_at > as_of and manifest.revision:
            former = self.read_json(lake.RAW_BILLING.manifest_revision(manifest.day, manifest.revision - 1))
            manifest = BillingManifest.model_validate(former)
        return manifest if manifest.landed_at <= as_of else None


def _billing_keys(manifest: BillingManifest) -> tuple[str, str]:
    kept = lake.RAW_BILLING.manifest_revision(manifest.day, manifest.revision)
    return kept, lake.RAW_BILLING.day(manifest.day) + manifest.file.name
