-- What the answers to each search of the look add up to.
-- Reads: superseded_answers (the look's answers with the revenue that counts).
SELECT
    search_id,
    count(*) FILTER (WHERE event_type = 'click') AS clicks,
    count(*) FILTER (WHERE event_type = 'contact') AS contacts,
    coalesce(fsum(revenue), 0) AS revenue,
    coalesce(fsum(revenue) FILTER (WHERE revenue_state = 'provisional'), 0) AS provisional_revenue
FROM superseded_answers
GROUP BY search_id
