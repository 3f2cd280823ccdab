"""Great Expectations' own expectations, answered by counts alone.

As they come, each runs a query of its own for examples of unexpected values, even where there are none. A suite of
these is answered in one pass over the rows; what failed is asked again as Great Expectations asks it.

"""

from __future__ import annotations

from typing import Any, Final

from great_expectations import expectations as gxe

_PREFIX: Final = "counted_"


class _Counted:
    map_metric: str

    def get_validation_dependencies(self, *args: Any, **kwargs: Any) -> Any:
        dependencies = super().get_validation_dependencies(*args, **kwargs)  # type: ignore[misc]
        examples = f"{self.map_metric}.unexpected_values"
        if examples in dependencies.get_metric_names():
            dependencies.remove_metric_configuration(examples)
        return dependencies


class CountedExpectColumnValuesToBeBetween(_Counted, gxe.ExpectColumnValuesToBeBetween):  # type: ignore[misc]
    """Values lie between two bounds; missing ones are not looked at."""


class CountedExpectColumnValuesToNotBeNull(_Counted, gxe.ExpectColumnValuesToNotBeNull):  # type: ignore[misc]
    """No value is missing."""


def type_name(type_: str) -> str:
    """What Great Expectations calls the type of an expectation."""
    return type_.removeprefix(_PREFIX)


def with_unexpected_rows(configuration: Any) -> Any:
    """The expectation that asks the same and also wants to see what it did not expect."""
    domain = configuration.to_domain_obj()
    kind = next(kind for kind in type(domain).__mro__ if kind.__module__.startswith("great_expectations."))
    return kind(**configuration.kwargs)
