-- What each event was billed in all, exactly: its amounts in all exports, corrections and refunds included.
-- Reads: billing_rows (event_id, amount as a decimal).
SELECT event_id, sum(amount)::DOUBLE AS amount
FROM billing_rows
WHERE amount IS NOT NULL
GROUP BY event_id
