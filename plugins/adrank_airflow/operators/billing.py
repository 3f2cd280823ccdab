"""Say, where everybody looks, that a night's billing export was refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from adrank.contracts import lake
from adrank.contracts.settings import Settings
from adrank_airflow.errors import ExportQuarantinedError
from adrank_airflow.hooks.lake import LakeHook

if TYPE_CHECKING:
    from airflow.sdk import Context


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
        verdict = hook.read_json(lake.billing_verdict(datetime.fromisoformat(self.day)) + "verdict.json")
        if verdict["outcome"] == "quarantined":
            kept = "nothing of that day" if verdict["revision"] is None else f"revision {verdict['revision']}"
            raise ExportQuarantinedError(
                f"{verdict['reason']}; quarantined at {hook.uri(verdict['key'])}; the lake holds {kept}"
            )
        self.log.info("%s: revision %s, %s rows", verdict["outcome"], verdict["revision"], verdict["rows"])
        return {name: verdict[name] for name in ("outcome", "key", "revision", "rows", "total", "currency")}
