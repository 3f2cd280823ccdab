"""A night's export lands whole with a manifest, or goes into quarantine whole with a reason."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import BillingManifest, BillingVerdict, RawManifest
from adrank.contracts.timestamps import HOUR
from adrank.storage.object_store import ObjectStore
from ingestion.billing import __main__
from ingestion.billing.process import NothingDeliveredError, process_export
from tests.include.ingestion.billing_exports import DAY, LINES, control, deliver, export

LAG = timedelta(hours=3)


def settled(store: ObjectStore, day: datetime = DAY) -> BillingVerdict:
    return process_export(store, day, currency="EUR", lag=LAG)


def manifest(store: ObjectStore, day: datetime = DAY) -> BillingManifest:
    return BillingManifest.model_validate_json(store.get(lake.RAW_BILLING.manifest(day)))


def everything(store: ObjectStore, prefix: str = "") -> dict[str, bytes]:
    return {key: store.get(key) for key in store.keys(prefix)}


def watermark(store: ObjectStore, moment: datetime) -> None:
    """The raw log is whole up to ``moment``."""
    hour = moment - HOUR
    closed = RawManifest(hour=hour, revision_time=moment, watermark=moment, rows=0)
    store.put(lake.RAW_EVENTS.manifest(hour), closed.model_dump_json().encode())


class TestAValidExport:
    def test_lands_one_file_that_the_manifest_names(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        verdict, landed = settled(store), manifest(store)
        assert (verdict.outcome, verdict.revision, verdict.rows, verdict.total) == ("landed", 0, 3, "17.25")
        assert (landed.currency, landed.total, landed.file.rows) == ("EUR", "17.25", 3)
        assert verdict.key == lake.RAW_BILLING.day(DAY) + landed.file.name
        assert store.get(verdict.key).decode().splitlines()[1:3] == [
            "sale-1,2026-03-01T10:00:00+00:00,12.50,EUR",
            "sale-2,2026-03-01T11:00:00+00:00,7.25,EUR",
        ]
        assert store.get(lake.RAW_BILLING.manifest_revision(DAY, 0)) == store.get(lake.RAW_BILLING.manifest(DAY))

    def test_counts_as_landed_by_rule_however_late_it_came(self, store: ObjectStore) -> None:
        watermark(store, DAY + 40 * timestamps.DAY)
        deliver(store, *LINES)
        settled(store)
        assert manifest(store).landed_at == DAY + timestamps.DAY + LAG

    def test_leaves_the_inbox_as_it_is(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        before = everything(store)
        settled(store)
        assert before.items() <= everything(store).items()

    def test_is_named_by_the_digests_of_its_files(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        delivered = {"export.csv": export(*LINES), "control.json": control(*LINES)}
        assert settled(store).delivered == {name: hashlib.sha256(body).hexdigest() for name, body in delivered.items()}

    def test_changes_nothing_when_it_lands_again(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        before = everything(store)
        verdict = settled(store)
        assert (verdict.outcome, verdict.revision, verdict.landed_exports) == ("unchanged", 0, 0)
        assert everything(store) == before


class TestACorrectedExport:
    def test_replaces_the_file_as_a_new_revision_and_the_former_one_stays_readable(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        former = settled(store)
        watermark(store, DAY + 5 * timestamps.DAY)
        deliver(store, LINES[0])
        assert (settled(store).outcome, manifest(store).revision, manifest(store).total) == ("landed", 1, "12.50")
        assert manifest(store).file.name != former.key.rsplit("/", 1)[1]
        kept = BillingManifest.model_validate_json(store.get(lake.RAW_BILLING.manifest_revision(DAY, 0)))
        assert store.get(lake.RAW_BILLING.day(DAY) + kept.file.name)

    def test_counts_as_landed_when_the_raw_log_says_that_it_came(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        watermark(store, DAY + 5 * timestamps.DAY)
        deliver(store, LINES[0])
        settled(store)
        assert manifest(store).landed_at == DAY + 5 * timestamps.DAY

    def test_never_counts_as_landed_before_what_it_corrects(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        first = manifest(store).landed_at
        deliver(store, LINES[0])
        settled(store)
        assert manifest(store).landed_at == first

    def test_that_brings_back_the_first_figures_is_a_third_revision(self, store: ObjectStore) -> None:
        for lines in (LINES, LINES[:1], LINES):
            deliver(store, *lines)
            settled(store)
        assert (manifest(store).revision, manifest(store).total) == (2, "17.25")

    def test_lands_after_quarantine(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        store.put(lake.BILLING_INBOX.day(DAY) + "control.json", control(*LINES, total="1"))
        assert settled(store).outcome == "quarantined"
        deliver(store, *LINES)
        assert (settled(store).outcome, manifest(store).revision) == ("landed", 0)


BAD = {
    "a wrong total": (export(*LINES), control(*LINES, total="17.24"), "export.csv: its 3 rows add up to 17.25"),
    "a wrong currency": (
        export(LINES[0].replace("EUR", "USD")),
        control(LINES[0]),
        "export.csv: row 1 (line 2): column currency: 'USD' is not EUR",
    ),
    "a truncated line": (
        export(*LINES[:2], LINES[2][:30], end=""),
        control(*LINES),
        "export.csv: row 3 (line 4): has no line end: the file was cut off",
    ),
    "a control total in another currency": (
        export(*LINES),
        control(*LINES, currency="USD"),
        "control.json: currency: 'USD' is not EUR",
    ),
}


class TestABadExport:
    @pytest.mark.parametrize(("exported", "controlled", "reason"), BAD.values(), ids=BAD.keys())
    def test_is_quarantined_whole_and_named_and_nothing_of_it_is_in_the_lake(
        self, store: ObjectStore, exported: bytes, controlled: bytes, reason: str
    ) -> None:
        store.put(lake.BILLING_INBOX.day(DAY) + "export.csv", exported)
        store.put(lake.BILLING_INBOX.day(DAY) + "control.json", controlled)
        inbox = everything(store)
        verdict = settled(store)
        assert (verdict.outcome, verdict.quarantined_exports, verdict.revision) == ("quarantined", 1, None)
        assert reason in verdict.reason
        assert everything(store, "raw/") == {}
        assert everything(store, "inbox/") == inbox
        assert verdict.key.startswith("quarantine/billing/dt=2026-03-01/")
        quarantined = everything(store, verdict.key)
        assert quarantined.pop(verdict.key + "export.csv") == exported
        assert quarantined.pop(verdict.key + "control.json") == controlled
        (record,) = quarantined.values()
        assert json.loads(record)["reason"] == verdict.reason

    def test_leaves_what_landed_before(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        before = everything(store, "raw/")
        store.put(lake.BILLING_INBOX.day(DAY) + "export.csv", export(*LINES[:2]))
        verdict = settled(store)
        assert (verdict.outcome, verdict.revision, verdict.total) == ("quarantined", 0, "17.25")
        assert everything(store, "raw/") == before

    def test_is_quarantined_once_however_often_it_is_looked_at(self, store: ObjectStore) -> None:
        store.put(lake.BILLING_INBOX.day(DAY) + "export.csv", b"")
        first = settled(store)
        before = everything(store)
        assert settled(store) == first
        assert everything(store) == before

    def test_without_a_control_total_is_quarantined_alone(self, store: ObjectStore) -> None:
        store.put(lake.BILLING_INBOX.day(DAY) + "export.csv", export(*LINES))
        verdict = settled(store)
        assert "control.json: was not delivered" in verdict.reason
        assert set(everything(store, verdict.key)) == {verdict.key + name for name in ("export.csv", "reason.json")}


def refund(amount: str, day: datetime) -> str:
    return f"sale-1,{day.isoformat()},{amount},EUR"


class TestRefunds:
    def test_of_earlier_days_charges_land(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        deliver(store, refund("-10.00", DAY + timestamps.DAY), day=DAY + timestamps.DAY)
        assert settled(store, DAY + timestamps.DAY).outcome == "landed"

    def test_of_more_than_was_billed_are_quarantined(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        deliver(store, refund("-10.01", DAY + timestamps.DAY), day=DAY + timestamps.DAY)
        assert settled(store, DAY + timestamps.DAY).reason == (
            "export.csv: row 1 (line 2): column amount: amounts billed for event sale-1 up to 2026-03-02 "
            "add up to -0.01; expected 0 or more"
        )

    def test_are_protected_from_a_correction_that_takes_away_what_they_refund(self, store: ObjectStore) -> None:
        deliver(store, *LINES)
        settled(store)
        deliver(store, refund("-10.00", DAY + timestamps.DAY), day=DAY + timestamps.DAY)
        settled(store, DAY + timestamps.DAY)
        deliver(store, LINES[1])
        verdict = settled(store)
        assert "event sale-1 up to 2026-03-02 add up to -10;" in verdict.reason
        assert manifest(store).revision == 0

    def test_look_no_further_back_than_they_must(self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        for n in range(3):
            deliver(store, f"sale-1,{(DAY + n * timestamps.DAY).isoformat()},5,EUR", day=DAY + n * timestamps.DAY)
            settled(store, DAY + n * timestamps.DAY)
        read: list[str] = []
        get = ObjectStore.get
        monkeypatch.setattr(ObjectStore, "get", lambda self, key: read.append(key) or get(self, key))
        deliver(store, refund("-4", DAY + 3 * timestamps.DAY), day=DAY + 3 * timestamps.DAY)
        assert settled(store, DAY + 3 * timestamps.DAY).outcome == "landed"
        data = [key for key in read if key.startswith("raw/billing/") and key.endswith(".csv")]
        assert [key.split("/")[2] for key in data] == ["dt=2026-03-03"]


def test_nothing_delivered_is_no_verdict(store: ObjectStore) -> None:
    with pytest.raises(NothingDeliveredError, match=r"holds neither export\.csv nor control\.json"):
        settled(store)


class TestTheJob:
    def run(self, store: ObjectStore, base: Path, patch: pytest.MonkeyPatch, day: str = "2026-03-01") -> int:
        patch.setenv("SAGEMAKER_BASE_DIR", str(base))
        patch.setattr(ObjectStore, "connect", lambda bucket, region: store)
        try:
            __main__.main(["--day", day, "--bucket", store.bucket, "--currency", "EUR", "--lag", "PT1H"])
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def test_leaves_its_verdict_as_an_output(
        self, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(store, *LINES)
        assert self.run(store, tmp_path, monkeypatch) == 0
        stored = BillingVerdict.model_validate_json((tmp_path / "processing/output/verdict/verdict.json").read_bytes())
        assert (stored.outcome, stored.day) == ("landed", DAY)
        assert Decimal(stored.total or "") == Decimal("17.25")
        assert manifest(store).landed_at == DAY + timestamps.DAY + HOUR

    def test_does_not_fail_over_a_bad_export(
        self, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put(lake.BILLING_INBOX.day(DAY) + "control.json", b"{}")
        assert self.run(store, tmp_path, monkeypatch, DAY.isoformat()) == 0
        stored = json.loads((tmp_path / "processing/output/verdict/verdict.json").read_bytes())
        assert stored["outcome"] == "quarantined"

    def test_fails_with_a_message_when_there_is_nothing_to_judge(
        self, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.run(store, tmp_path, monkeypatch) == 1
        assert "holds neither" in (tmp_path / "output/message").read_text()
        assert not (tmp_path / "processing/output/verdict/verdict.json").exists()

    @pytest.mark.parametrize("day", ["2026-03-01T05:00:00+00:00", "2026-03-01T00:00:00", "tomorrow"])
    def test_refuses_what_is_not_a_utc_day(
        self, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str
    ) -> None:
        assert self.run(store, tmp_path, monkeypatch, day) == 2
