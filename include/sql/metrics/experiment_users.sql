-- One row per user and variant of an experiment: searches and what they led to.
-- Reads: raw_events.
-- A search counts for the variant that its impressions were logged with; its answers count for that search.
WITH events AS (
    SELECT *
    FROM raw_events
    WHERE epoch_us(event_time) >= $start_us
      AND epoch_us(event_time) < $end_us
    QUALIFY row_number() OVER (
        PARTITION BY event_id ORDER BY epoch_us(ingest_time) NULLS LAST, epoch_us(event_time), search_id, ad_id
    ) = 1
),
searches AS (
    SELECT DISTINCT user_id, variant, search_id
    FROM events
    WHERE event_type = 'impression' AND experiment_id = $experiment_id
),
answers AS (
    SELECT
        search_id,
        count(*) FILTER (WHERE event_type = 'click') AS clicks,
        count(*) FILTER (WHERE event_type = 'contact') AS contacts,
        coalesce(sum(revenue), 0) AS revenue
    FROM events
    WHERE event_type <> 'impression'
    GROUP BY search_id
)
SELECT
    s.user_id,
    s.variant,
    count(*)::DOUBLE AS searches,
    coalesce(sum(a.clicks), 0)::DOUBLE AS clicks,
    coalesce(sum(a.contacts), 0)::DOUBLE AS contacts,
    coalesce(sum(a.revenue), 0)::DOUBLE AS revenue,
    count(*) OVER (PARTITION BY s.user_id) AS variants_seen
FROM searches AS s
LEFT JOIN answers AS a USING (search_id)
GROUP BY s.user_id, s.variant
