"""A task that waits, as the triggerer takes it over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred


def deferral(call: Callable[..., Any], *args: Any, **kwargs: Any) -> TaskDeferred:
    """How the task deferred when it was so called."""
    with pytest.raises(TaskDeferred) as deferred:
        call(*args, **kwargs)
    return deferred.value
