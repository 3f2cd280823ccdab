-- Per variant: users, and the sums that the delta method needs. Users seen in both variants are left out.
-- Reads: experiment_users.
SELECT
    variant,
    count(*) AS users,
    sum(searches) AS searches,
    sum(searches * searches) AS searches_squares,
    fsum(provisional_revenue) AS provisional_revenue,
    {sums}
FROM experiment_users
WHERE variants_seen = 1
GROUP BY variant
