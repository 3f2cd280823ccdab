-- How many answers of the set earned what, by how sure it is.
-- Reads: outcomes.
SELECT revenue_state, count(*) AS events, fsum(revenue) AS revenue
FROM outcomes
WHERE impression_id IS NOT NULL AND revenue_state IS NOT NULL
GROUP BY revenue_state
