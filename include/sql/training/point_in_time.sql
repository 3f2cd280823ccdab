-- What the online store would have answered at each impression: the newest row visible by then, unless it expired.
-- Reads: {source} (the impressions), visible_rows.
-- {projection}: the group's features with the registry's default where the entity has no such row.
-- Only what the join needs goes through it: it sorts its rows, and an impression's other columns are wide.
SELECT i.number, {projection}
FROM (SELECT number, event_us, {entity_key} AS entity_id FROM {source}) AS i
ASOF LEFT JOIN visible_rows AS g
    ON g.entity_id = i.entity_id
   AND g.available_us <= i.event_us
