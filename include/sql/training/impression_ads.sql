-- Who sold each impression's ad at the impression's time, and its pair of user and category as
-- adrank.contracts.registry.user_category spells it. The impressions are numbered, in no order, to join by.
-- Reads: labelled, ads.
SELECT
    row_number() OVER () AS number,
    l.*,
    a.seller_id,
    a.category,
    replace(replace(l.user_id, '%', '%25'), '|', '%7C') || '|' || a.category AS user_category
FROM labelled AS l
ASOF LEFT JOIN ads AS a
    ON a.ad_id = l.ad_id
   AND a.valid_from_us <= l.event_us
