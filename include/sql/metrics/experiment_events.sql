-- Events of the look, each once.
-- Reads: raw_events. Times are microseconds since the epoch, UTC.
SELECT *, epoch_us(event_time) AS event_us
FROM raw_events
WHERE epoch_us(event_time) >= $start_us
  AND epoch_us(event_time) < $end_us
QUALIFY row_number() OVER (
    PARTITION BY event_id ORDER BY epoch_us(ingest_time) NULLS LAST, epoch_us(event_time), search_id, ad_id
) = 1
