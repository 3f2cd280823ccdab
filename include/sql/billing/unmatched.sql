-- Events that were billed and are no answer of the log: unknown to it, or impressions.
-- Reads: billing_rows (event_id, billed_at, amount as a decimal), raw_events, {source} (event_id, ...).
-- An event is billed within the maturity if ever, so only one whose first billing is at least that long after the window
-- began, and after the log did, must be in the window. Whatever is billed happened before the night that bills it.
-- What nets below zero was charged in a night that is not read; what nets zero lost nothing.
WITH due AS (
    SELECT event_id, sum(amount) AS amount
    FROM billing_rows
    WHERE amount IS NOT NULL
    GROUP BY event_id
    HAVING sum(amount) > 0
       AND min(epoch_us(billed_at)) - $billing_maturity_us
           >= greatest($start_us, (SELECT min(epoch_us(event_time)) FROM raw_events))
)
SELECT count(*) AS events, coalesce(sum(amount), 0)::DOUBLE AS revenue
FROM due
ANTI JOIN {source} AS s ON s.event_id = due.event_id
