"""Contracts between the parts: settings, lake layout, manifests, feature registry, packages, experiments."""
