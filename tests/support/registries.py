"""Feature registries that differ from the installation's in one thing."""

from __future__ import annotations

from adrank.contracts import registry
from adrank.contracts.registry import Registry


def known_late(*names: str) -> Registry:
    """The registry, were these features known only after an impression."""
    groups = tuple(
        group.model_copy(
            update={
                "features": tuple(
                    feature.model_copy(update={"known_before_impression": feature.name not in names})
                    for feature in group.features
                )
            }
        )
        for group in registry.load().groups
    )
    return Registry(groups=groups)
