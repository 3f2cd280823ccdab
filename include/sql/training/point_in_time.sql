-- What the online store would have answered at each impression: the entity's row in the newest partition visible by
-- then, unless that expired. An entity without a row in it has none: the push of its hour wrote defaults over what an
-- older one had said.
-- Reads: {source} (the impressions), visible_partitions, group_rows (entity_id, feature_us, revision, features).
-- {projection}: the group's features with the registry's default where the entity has no such row.
-- Only what the joins need goes through them: an impression's other columns are wide.
WITH looked_up AS (
    SELECT i.number, i.event_us, i.entity_id, p.feature_us, p.revision
    FROM (SELECT number, event_us, {entity_key} AS entity_id FROM {source}) AS i
    ASOF LEFT JOIN visible_partitions AS p
        ON p.available_us <= i.event_us
)
SELECT i.number, {projection}
FROM looked_up AS i
LEFT JOIN group_rows AS g
    ON g.entity_id = i.entity_id
   AND g.feature_us = i.feature_us
   AND g.revision = i.revision
