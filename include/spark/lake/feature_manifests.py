"""Manifests of feature partitions as they lie in the lake. A reader takes the newest revision of an hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from adrank.contracts import lake
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.registry import FeatureGroup
from spark.lake.files import LakeFiles, in_parallel

_REVISION: Final = "rev="


class PartitionMissingError(RuntimeError):
    """A feature partition that is needed has no manifest."""


class LayoutMismatchError(RuntimeError):
    """A feature partition was written against another feature layout."""


def manifest_of(files: LakeFiles, group: FeatureGroup, hour: datetime) -> FeatureManifest:
    """The newest revision's manifest, refused when it was written against another layout."""
    manifest = newest(files, group, hour)
    if manifest is None:
        where = files.uri(lake.FEATURES(group.name).hour(hour))
        raise PartitionMissingError(f"{where} has no {lake.MANIFEST}: features of {hour.isoformat()} were not computed")
    if manifest.fingerprint != group.fingerprint:
        key = lake.FEATURES(group.name).manifest(hour, manifest.revision)
        raise LayoutMismatchError(
            f"{files.uri(key)} has layout {manifest.fingerprint[:12]}, group {group.name} is {group.fingerprint[:12]}"
        )
    return manifest


def manifests_of(files: LakeFiles, group: FeatureGroup, hours: Sequence[datetime]) -> list[FeatureManifest]:
    """The newest manifests of ``hours``, in order."""
    return in_parallel(lambda hour: manifest_of(files, group, hour), hours)


def computed(files: LakeFiles, group: FeatureGroup, hours: Iterable[datetime]) -> list[FeatureManifest]:
    """The newest manifests of those of ``hours`` that were computed, in order, whatever their layout."""
    found = in_parallel(lambda hour: newest(files, group, hour), hours)
    return [manifest for manifest in found if manifest is not None]


def newest(files: LakeFiles, group: FeatureGroup, hour: datetime) -> FeatureManifest | None:
    """The manifest of the newest revision that has one."""
    for revision in reversed(revisions(files, group, hour)):
        if manifest := revision_of(files, group, hour, revision):
            return manifest
    return None


def revision_of(files: LakeFiles, group: FeatureGroup, hour: datetime, revision: int) -> FeatureManifest | None:
    """The manifest of one revision, if it has one."""
    return files.load(lake.FEATURES(group.name).manifest(hour, revision), FeatureManifest)


def data_files(manifests: Iterable[FeatureManifest]) -> list[str]:
    """Keys of the files that the manifests name."""
    return [lake.FEATURES(m.group).revision(m.hour, m.revision) + name for m in manifests for name in m.files]


def revisions(files: LakeFiles, group: FeatureGroup, hour: datetime) -> list[int]:
    """Numbers of the revisions of which anything is there, with a manifest or without, in order."""
    names = files.names(lake.FEATURES(group.name).hour(hour))
    return sorted(int(name.removeprefix(_REVISION)) for name in names if name.startswith(_REVISION))
