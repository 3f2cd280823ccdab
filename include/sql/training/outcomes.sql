-- Clicks, contacts and sales, each event once, each answering one impression: the last one of the same search and
-- ad at or before it, no longer ago than the maturity window.
-- Reads: raw_events, mature_impressions.
-- `impression_id` is null for an answer without such an impression.
WITH answers AS (
    SELECT event_id, event_type, epoch_us(event_time) AS event_us, search_id, ad_id, revenue
    FROM raw_events
    WHERE event_type <> 'impression'
      AND epoch_us(event_time) >= $start_us
      AND epoch_us(event_time) <= $as_of_us
    QUALIFY row_number() OVER (
        PARTITION BY event_id
        ORDER BY epoch_us(ingest_time) NULLS LAST, epoch_us(event_time), search_id, ad_id, revenue
    ) = 1
)
SELECT
    a.event_id,
    a.event_type,
    a.revenue,
    i.event_id AS impression_id
FROM answers AS a
LEFT JOIN mature_impressions AS i
    ON i.search_id = a.search_id
   AND i.ad_id = a.ad_id
   AND i.event_us <= a.event_us
   AND a.event_us <= i.event_us + $maturity_us
QUALIFY row_number() OVER (
    PARTITION BY a.event_id
    ORDER BY i.event_us DESC NULLS LAST, i.position, i.event_id
) = 1
