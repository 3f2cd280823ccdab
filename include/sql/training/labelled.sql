-- Mature impressions with what they led to, and the grade that the model learns.
-- Reads: mature_impressions, outcomes.
-- objective_label: the weighted sum of the objectives, rounded to a grade; NDCG uses the grade itself as gain.
WITH answered AS (
    SELECT
        impression_id,
        bool_or(event_type = 'click')::INTEGER AS click,
        bool_or(event_type = 'contact')::INTEGER AS contact,
        coalesce(sum(revenue), 0)::DOUBLE AS revenue
    FROM outcomes
    WHERE impression_id IS NOT NULL
    GROUP BY impression_id
),
labelled AS (
    SELECT
        i.*,
        coalesce(a.click, 0) AS click,
        coalesce(a.contact, 0) AS contact,
        coalesce(a.revenue, 0) AS revenue
    FROM mature_impressions AS i
    LEFT JOIN answered AS a ON a.impression_id = i.event_id
)
SELECT
    *,
    least(
        $max_grade,
        round($click_weight * click + $contact_weight * contact + $revenue_weight * ln(1 + greatest(revenue, 0)))
    )::INTEGER AS objective_label,
    min(event_us) OVER (PARTITION BY search_id) AS query_us
FROM labelled
