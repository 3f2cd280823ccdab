-- What the online store would have answered at each impression: the newest row visible by then, unless it expired.
-- Reads: {source} (the impressions so far), visible_rows.
-- {projection}: the group's features with the registry's default where the entity has no such row.
SELECT i.*, {projection}
FROM {source} AS i
ASOF LEFT JOIN visible_rows AS g
    ON g.entity_id = i.{entity_key}
   AND g.available_us <= i.event_us
