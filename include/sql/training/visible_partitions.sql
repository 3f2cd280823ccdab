-- A feature group's partitions in the order in which they became the newest visible one, at most one per moment.
-- Reads: partitions (feature_time, available_at, revision), also those without rows.
-- Of the partitions that are visible at a moment the newest hour's newest revision counts: a late revision of an old
-- hour never hides a newer hour that was visible already. Feature times are whole hours, so the revision fits beneath
-- them.
WITH timed AS (
    SELECT
        epoch_us(feature_time) AS feature_us,
        epoch_us(available_at) AS available_us,
        revision,
        epoch_us(feature_time) + revision AS recency
    FROM partitions
)
SELECT feature_us, available_us, revision
FROM timed
QUALIFY row_number() OVER (PARTITION BY available_us ORDER BY recency DESC) = 1
    AND recency >= max(recency) OVER (ORDER BY available_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
