-- The seller of each impression's ad at the impression's time.
-- Reads: labelled, sellers.
SELECT l.*, s.seller_id
FROM labelled AS l
ASOF LEFT JOIN sellers AS s
    ON s.ad_id = l.ad_id
   AND s.valid_from_us <= l.event_us
