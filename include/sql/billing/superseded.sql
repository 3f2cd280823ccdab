-- Answers with the revenue that counts: what was billed; nothing once an answer is mature and every export that could
-- have billed it has landed; the provisional figure until then, or where no exports come.
-- Reads: {source} (event_id, event_us, revenue, ...), billed (event_id, amount), billing_days (day, covered_until_us).
-- `revenue_state`: billed, expired or provisional; null where there is no revenue to speak of.
SELECT
    s.* REPLACE (
        CASE
            WHEN b.event_id IS NOT NULL THEN b.amount
            WHEN s.event_us + $billing_maturity_us <= d.covered_until_us THEN 0
            ELSE s.revenue
        END AS revenue
    ),
    CASE
        WHEN b.event_id IS NOT NULL THEN 'billed'
        WHEN coalesce(s.revenue, 0) = 0 THEN NULL
        WHEN s.event_us + $billing_maturity_us <= d.covered_until_us THEN 'expired'
        ELSE 'provisional'
    END AS revenue_state
FROM {source} AS s
LEFT JOIN billed AS b ON b.event_id = s.event_id
LEFT JOIN billing_days AS d ON d.day = s.event_us // 86400000000
