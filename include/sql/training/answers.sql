-- Clicks, contacts and sales of the window, each event once.
-- Reads: raw_events. Times are microseconds since the epoch, UTC.
SELECT event_id, event_type, epoch_us(event_time) AS event_us, search_id, ad_id, revenue
FROM raw_events
WHERE event_type <> 'impression'
  AND epoch_us(event_time) >= $start_us
  AND epoch_us(event_time) <= $as_of_us
QUALIFY row_number() OVER (
    PARTITION BY event_id
    ORDER BY epoch_us(ingest_time) NULLS LAST, epoch_us(event_time), search_id, ad_id, revenue
) = 1
