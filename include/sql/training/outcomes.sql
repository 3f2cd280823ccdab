-- Each answer answers one impression: the last one of the same search and ad at or before it, no longer ago than the
-- maturity window.
-- Reads: superseded_answers (answers with the revenue that counts), mature_impressions.
-- `impression_id` is null for an answer without such an impression.
SELECT
    a.event_id,
    a.event_type,
    a.revenue,
    a.revenue_state,
    i.event_id AS impression_id
FROM superseded_answers AS a
LEFT JOIN mature_impressions AS i
    ON i.search_id = a.search_id
   AND i.ad_id = a.ad_id
   AND i.event_us <= a.event_us
   AND a.event_us <= i.event_us + $maturity_us
QUALIFY row_number() OVER (
    PARTITION BY a.event_id
    ORDER BY i.event_us DESC NULLS LAST, i.position, i.event_id
) = 1
