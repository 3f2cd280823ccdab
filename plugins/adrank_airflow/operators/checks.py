"""Fail, with the reason, before work is wasted or something wrong is built upon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from adrank.contracts import lake, registry
from adrank.contracts.settings import Settings
from adrank.contracts.timestamps import floor_hour
from adrank.decisions import consistency
from adrank_airflow.errors import ExportQuarantinedError, InconsistentFeaturesError, UnauditedFeaturesError
from adrank_airflow.hooks.lake import LakeHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class RequireConsistencyOperator(BaseOperator):
    """Refuse to go on when the newest audit of the online features found too much skew, or when there is no recent one.

    The newest one alone decides: it has read back what is online now, and what was wrong in an hour before and is right
    again harms no model. An audit of another feature registry, or one that later hours had overtaken, counts as none.

    :param as_of: ISO time to look back from; templated.
    """

    template_fields: Sequence[str] = ("as_of",)

    def __init__(self, *, settings: Settings, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.as_of = as_of

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the audited hour, its skew and the reasons."""
        del context
        settings, wanted = self.settings, self.settings.audit
        end = floor_hour(datetime.fromisoformat(self.as_of))
        hook = LakeHook(settings.lake.bucket, settings.airflow.aws_conn_id, settings.region)
        fingerprint = registry.load().fingerprint
        audits = [
            audit
            for audit in hook.audits(end - wanted.max_age, end)
            if audit.fingerprint == fingerprint and not audit.superseded
        ]
        if not audits:
            return self._unaudited(end)
        newest = audits[-1]
        verdict = consistency.judge(newest.groups, wanted.max_skew)
        for reason in verdict.reasons:
            self.log.info("%s", reason)
        if not verdict.consistent:
            raise InconsistentFeaturesError(
                f"online features of {newest.hour.isoformat()} have a skew of {verdict.skew:.2%}, the limit is "
                f"{wanted.max_skew:.2%}: {verdict.reasons[0]}; all of it is in {hook.uri(lake.audit(newest.hour))}"
            )
        return {"hour": newest.hour.isoformat(), "skew": verdict.skew, "reasons": list(verdict.reasons)}

    def _unaudited(self, end: datetime) -> dict[str, Any]:
        wanted = self.settings.audit
        said = f"no hour from {(end - wanted.max_age).isoformat()} to {end.isoformat()} has an audit of its features"
        if not wanted.allow_unaudited:
            raise UnauditedFeaturesError(
                f"{said}: let ranking_features_hourly audit one of them and clear this task, "
                "or set ADRANK_AUDIT__ALLOW_UNAUDITED=true"
            )
        self.log.warning("%s; the settings allow that", said)
        return {"hour": None, "skew": None, "reasons": [said]}


class RequireBilledDayOperator(BaseOperator):
    """Read what became of a day's export; fail, with the reason, when it is in quarantine.

    :param day: ISO start of the day; templated.
    """

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, settings: Settings, day: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.day = day

    def execute(self, context: Context) -> dict[str, Any]:
        """Return outcome, revision and figures of the landed export."""
        del context
        settings = self.settings
        hook = LakeHook(settings.lake.bucket, settings.airflow.aws_conn_id, settings.region)
        verdict = hook.read_json(lake.billing_verdict(datetime.fromisoformat(self.day)))
        if verdict["outcome"] == "quarantined":
            kept = "nothing of that day" if verdict["revision"] is None else f"revision {verdict['revision']}"
            raise ExportQuarantinedError(
                f"{verdict['reason']}; quarantined at {hook.uri(verdict['key'])}; the lake holds {kept}"
            )
        self.log.info("%s: revision %s, %s rows", verdict["outcome"], verdict["revision"], verdict["rows"])
        return {name: verdict[name] for name in ("outcome", "key", "revision", "rows", "total", "currency")}
