-- A feature group's rows in the order in which they became visible, each entity at most once per moment.
-- Reads: group_files (entity_id, feature_time, available_at, revision, features).
-- Of the rows that are visible at a moment the newest hour's newest revision counts: a late revision of an old hour never
-- hides a newer hour that was visible already. Feature times are whole hours, so the revision fits beneath them.
WITH timed AS (
    SELECT
        * EXCLUDE (feature_time, available_at, revision),
        epoch_us(feature_time) AS feature_us,
        epoch_us(available_at) AS available_us,
        epoch_us(feature_time) + revision AS recency
    FROM group_files
)
SELECT * EXCLUDE (recency)
FROM timed
QUALIFY row_number() OVER (PARTITION BY entity_id, available_us ORDER BY recency DESC) = 1
    AND recency >= max(recency) OVER (
        PARTITION BY entity_id ORDER BY available_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
