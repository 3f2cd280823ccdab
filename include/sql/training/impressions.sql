-- Impressions of the window, each event once.
-- Reads: raw_events. Times are microseconds since the epoch, UTC.
-- The copy that arrived first counts; the other columns only make the choice the same every time.
SELECT
    event_id,
    epoch_us(event_time) AS event_us,
    user_id,
    search_id,
    ad_id,
    position,
    context
FROM raw_events
WHERE event_type = 'impression'
  AND epoch_us(event_time) >= $start_us
  AND epoch_us(event_time) < $as_of_us
QUALIFY row_number() OVER (
    PARTITION BY event_id
    ORDER BY epoch_us(ingest_time) NULLS LAST, epoch_us(event_time), search_id, ad_id, position, context::VARCHAR
) = 1
