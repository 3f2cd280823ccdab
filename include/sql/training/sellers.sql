-- Which seller an ad had from when on, folded from Debezium envelopes.
-- Reads: ad_changes (ad_id, seller_id, ts_ms, lsn).
-- Before its first row an ad has its first seller: a request names the seller, whenever the catalogue was snapshotted.
SELECT
    ad_id,
    seller_id,
    CASE
        WHEN ts_ms = min(ts_ms) OVER (PARTITION BY ad_id) THEN -9223372036854775807
        ELSE ts_ms * 1000
    END AS valid_from_us
FROM ad_changes
WHERE ad_id IS NOT NULL AND seller_id IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY ad_id, ts_ms ORDER BY lsn DESC) = 1
