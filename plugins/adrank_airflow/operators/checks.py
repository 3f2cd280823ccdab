"""Fail, with the reason, before work is wasted or something wrong is built upon."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from adrank.contracts import lake, registry
from adrank.contracts.timestamps import floor_hour
from adrank.decisions import consistency
from adrank_airflow.base import MomentTask
from adrank_airflow.errors import ExportQuarantinedError, InconsistentFeaturesError, UnauditedFeaturesError

if TYPE_CHECKING:
    from airflow.sdk import Context


class RequireConsistencyOperator(MomentTask):
    """Refuse to go on when the newest audit of the online features found too much skew, or when there is no recent one.

    The newest one before the moment alone decides: it has read back what is online now, and what was wrong in an hour
    before and is right again harms no model. An audit of another feature registry, or one that later hours had
    overtaken, counts as none.
    """

    returns = ("hour", "skew", "reasons")

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the audited hour, its skew and the reasons."""
        del context
        limits = self.settings.audit
        end = floor_hour(self.moment)
        fingerprint = registry.load().fingerprint
        audits = [
            audit
            for audit in self.lake.audits(end - limits.max_age, end)
            if audit.fingerprint == fingerprint and not audit.superseded
        ]
        if not audits:
            return self._unaudited(end)
        newest = audits[-1]
        verdict = consistency.judge(newest.groups, limits.max_skew)
        for reason in verdict.reasons:
            self.log.info("%s", reason)
        if not verdict.consistent:
            raise InconsistentFeaturesError(
                f"online features of {newest.hour.isoformat()} have a skew of {verdict.skew:.2%}, the limit is "
                f"{limits.max_skew:.2%}: {verdict.reasons[0]}; all of it is in {self.lake.uri(lake.audit(newest.hour))}"
            )
        return {"hour": newest.hour.isoformat(), "skew": verdict.skew, "reasons": list(verdict.reasons)}

    def _unaudited(self, end: datetime) -> dict[str, Any]:
        limits = self.settings.audit
        reason = f"no hour from {(end - limits.max_age).isoformat()} to {end.isoformat()} has an audit of its features"
        if not limits.allow_unaudited:
            raise UnauditedFeaturesError(
                f"{reason}: let ranking_features_hourly audit one of them and clear this task, "
                "or set ADRANK_AUDIT__ALLOW_UNAUDITED=true"
            )
        self.log.warning("%s; the settings allow that", reason)
        return {"hour": None, "skew": None, "reasons": [reason]}


class RequireBilledDayOperator(MomentTask):
    """Read what became of a day's export; fail, with the reason, when it is in quarantine."""

    returns = ("outcome", "key", "revision", "rows", "total", "currency")

    def execute(self, context: Context) -> dict[str, Any]:
        """Return outcome, revision and figures of the landed export."""
        del context
        verdict = self.lake.read_json(lake.BILLING_VERDICT.key(self.moment))
        if verdict["outcome"] == "quarantined":
            kept = "nothing of that day" if verdict["revision"] is None else f"revision {verdict['revision']}"
            raise ExportQuarantinedError(
                f"{verdict['reason']}; quarantined at {self.lake.uri(verdict['key'])}; the lake holds {kept}"
            )
        self.log.info("%s: revision %s, %s rows", verdict["outcome"], verdict["revision"], verdict["rows"])
        return {name: verdict[name] for name in self.returns}
