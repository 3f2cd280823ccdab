"""Do the online stores serve what the offline partitions say?

Three shares are looked at for every group: sampled offline keys that differ in any way when they are read back, keys
met in the store that serve values without an offline row, and rows that requests were served with. The features are
consistent when none of these shares is above the limit. The plain share decides, not a bound of its interval: most
groups are read back whole or in thousands, and of the two errors a needless refusal is the cheap one. The interval is
told, so that a share of a small sample can be read for what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Final, NamedTuple

from pydantic import Field

from adrank.contracts.base import FrozenModel
from adrank.contracts.manifests import GroupAudit

#: Of the normal distribution, for the 95 % interval.
_Z: Final = 1.96


class ConsistencyVerdict(FrozenModel):
    """``skew`` is the largest share of any group. Reasons name every number that counted, what is too much first."""

    consistent: bool
    skew: float = Field(ge=0, le=1)
    reasons: tuple[str, ...]


class _Finding(NamedTuple):
    share: float
    text: str


def judge(groups: Iterable[GroupAudit], limit: float) -> ConsistencyVerdict:
    """The verdict on what an audit found; ``limit`` is the largest share that is let pass."""
    findings = [finding for group in groups for finding in _findings(group, limit)]
    worst_first = sorted(findings, key=lambda finding: -finding.share)
    skew = max((finding.share for finding in findings), default=0.0)
    return ConsistencyVerdict(
        consistent=skew <= limit, skew=skew, reasons=tuple(finding.text for finding in worst_first)
    )


def _findings(group: GroupAudit, limit: float) -> list[_Finding]:
    found = [_stored(group, limit)]
    if group.extra:
        found.append(
            _finding(
                group.group, group.extra, group.scanned, group.scanned, limit, "keys in the store", "no offline row"
            )
        )
    served = group.served
    if served.compared:
        detail = f"{served.mismatched or 'none'} mismatched{_worst(served.features)}"
        detail += f"; {served.defaults} answered with defaults" if served.defaults else ""
        detail += f"; {served.unknown} more cannot be compared" if served.unknown else ""
        found.append(
            _finding(group.group, served.mismatched, served.compared, served.rows, limit, "served rows", detail)
        )
    elif served.unknown:
        found.append(_Finding(0, f"{group.group}: no served row was compared, {served.unknown} cannot be"))
    return found


def _stored(group: GroupAudit, limit: float) -> _Finding:
    if not group.compared:
        newer = f", {group.newer} are of a later hour by now" if group.newer else ""
        return _Finding(0, f"{group.group}: no key was compared{newer}")
    kinds = {
        "mismatched": group.mismatched,
        "missing": group.missing,
        "stale": group.stale,
        "of another layout": group.other_layout,
    }
    detail = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "as offline"
    detail += _worst({name: feature.mismatched for name, feature in group.features.items()})
    return _finding(group.group, group.different, group.compared, group.rows, limit, "sampled keys", detail)


def _finding(group: str, different: int, of: int, all_rows: int, limit: float, what: str, detail: str) -> _Finding:
    share = different / of
    lower, upper = interval(different, of)
    sampling = f", 95 % interval {lower:.2%} to {upper:.2%}" if different and of < all_rows else ""
    above = f", above the limit of {limit:.2%}" if share > limit else ""
    return _Finding(share, f"{group}: {different} of {of} {what} differ ({share:.2%}{sampling}){above}: {detail}")


def _worst(features: Mapping[str, int]) -> str:
    name, count = max(features.items(), key=lambda feature: feature[1], default=("", 0))
    return f"; most in {name} ({count})" if count else ""


def interval(different: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, spread = different / of, _Z * _Z / of
    middle = (share + spread / 2) / (1 + spread)
    reach = _Z / (1 + spread) * sqrt(share * (1 - share) / of + spread / of / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)
