-- One row per user and variant of an experiment: searches and what they led to.
-- Reads: experiment_events, experiment_answers.
-- A search counts for the variant that its impressions were logged with; its answers count for that search.
WITH searches AS (
    SELECT DISTINCT user_id, variant, search_id
    FROM experiment_events
    WHERE event_type = 'impression' AND experiment_id = $experiment_id
)
SELECT
    s.user_id,
    s.variant,
    count(*)::DOUBLE AS searches,
    coalesce(sum(a.clicks), 0)::DOUBLE AS clicks,
    coalesce(sum(a.contacts), 0)::DOUBLE AS contacts,
    coalesce(fsum(a.revenue), 0)::DOUBLE AS revenue,
    coalesce(fsum(a.provisional_revenue), 0)::DOUBLE AS provisional_revenue,
    count(*) OVER (PARTITION BY s.user_id) AS variants_seen
FROM searches AS s
LEFT JOIN experiment_answers AS a USING (search_id)
GROUP BY s.user_id, s.variant
