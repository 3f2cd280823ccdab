-- Which seller and category an ad had from when on, folded from Debezium envelopes.
-- Reads: ad_changes (ad_id, seller_id, category, ts_ms, lsn).
-- What a row does not say stays as it was. Before its first row an ad is what that row says, and what no row has said
-- yet is what the first one to say it does: a request names both, whenever the catalogue was snapshotted.
WITH filled AS (
    SELECT
        ad_id,
        ts_ms,
        lsn,
        coalesce(last_value(seller_id IGNORE NULLS) OVER past, first_value(seller_id IGNORE NULLS) OVER future)
            AS seller_id,
        coalesce(last_value(category IGNORE NULLS) OVER past, first_value(category IGNORE NULLS) OVER future)
            AS category
    FROM ad_changes
    WHERE ad_id IS NOT NULL
    WINDOW
        past AS (PARTITION BY ad_id ORDER BY ts_ms, lsn ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
        future AS (PARTITION BY ad_id ORDER BY ts_ms, lsn ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
)
SELECT
    ad_id,
    seller_id,
    category,
    CASE
        WHEN ts_ms = min(ts_ms) OVER (PARTITION BY ad_id) THEN -9223372036854775807
        ELSE ts_ms * 1000
    END AS valid_from_us
FROM filled
QUALIFY row_number() OVER (PARTITION BY ad_id, ts_ms ORDER BY lsn DESC) = 1
