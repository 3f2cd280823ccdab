"""Names of the metrics, Prometheus' and CloudWatch's: what exporters, alerts and dashboards agree on."""

from __future__ import annotations

from typing import Final

# Archiver: Kafka to raw events. ``partition`` is Kafka's.
ARCHIVER_LAG: Final = "adrank_archiver_lag_messages"
ARCHIVER_MESSAGES: Final = "adrank_archiver_messages_total"
ARCHIVER_ROWS: Final = "adrank_archiver_rows_landed_total"
ARCHIVER_LATE_ROWS: Final = "adrank_archiver_late_rows_total"
ARCHIVER_DEAD_LETTERS: Final = "adrank_archiver_dead_letters_total"
ARCHIVER_FILES: Final = "adrank_archiver_files_total"
ARCHIVER_FLUSH_SECONDS: Final = "adrank_archiver_flush_seconds"
ARCHIVER_RETRIES: Final = "adrank_archiver_retries_total"
ARCHIVER_WATERMARK: Final = "adrank_archiver_watermark_seconds"
ARCHIVER_HOURS_CLOSED: Final = "adrank_archiver_hours_closed_total"
ARCHIVER_HOURS_REVISED: Final = "adrank_archiver_hours_revised_total"

# Business, as events pass: each event once, when it is durable. ``variant`` is control, treatment, none or other.
BUSINESS_EVENTS: Final = "adrank_business_events_total"
BUSINESS_SEARCHES: Final = "adrank_business_searches_total"
BUSINESS_REVENUE: Final = "adrank_business_revenue_total"

# Capture: the database's changes to raw change data. ``op`` is Debezium's: c, u, d, r (snapshot), t (truncate).
CAPTURE_CHANGES: Final = "adrank_capture_changes_landed_total"
CAPTURE_LATE_CHANGES: Final = "adrank_capture_late_changes_total"
CAPTURE_LAG_SECONDS: Final = "adrank_capture_lag_seconds"
CAPTURE_FILES: Final = "adrank_capture_files_total"
CAPTURE_RETRIES: Final = "adrank_capture_retries_total"
CAPTURE_HOURS_CLOSED: Final = "adrank_capture_hours_closed_total"
CAPTURE_WATERMARK: Final = "adrank_capture_watermark_seconds"

# Billing, read from the lake: exports in quarantine, days whose newest delivery is there, recent days whose delivery
# nobody has looked at, the newest day that landed.
BILLING_QUARANTINED_EXPORTS: Final = "adrank_billing_quarantined_exports"
BILLING_QUARANTINED_DAYS: Final = "adrank_billing_quarantined_days"
BILLING_UNSETTLED_DAYS: Final = "adrank_billing_unsettled_days"
BILLING_LAST_DAY: Final = "adrank_billing_last_day_seconds"
BILLING_READ: Final = "adrank_billing_read_seconds"

# Consistency audit, in CloudWatch; dimension Group, for FEATURE_SMAPE also Feature.
FEATURES_NAMESPACE: Final = "adrank/features"
ONLINE_COMPARED: Final = "OnlineCompared"
ONLINE_MISMATCHED: Final = "OnlineMismatched"
ONLINE_MISSING: Final = "OnlineMissing"
ONLINE_STALE: Final = "OnlineStale"
ONLINE_EXTRA: Final = "OnlineExtra"
ONLINE_SKEW: Final = "OnlineSkew"
SERVED_COMPARED: Final = "ServedCompared"
SERVED_MISMATCHED: Final = "ServedMismatched"
SERVED_DEFAULTS: Final = "ServedDefaults"
SERVED_UNKNOWN: Final = "ServedUnknown"
FEATURE_SMAPE: Final = "FeatureSMAPE"
