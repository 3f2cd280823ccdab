-- A feature group's rows in the order in which they became visible, each entity at most once per moment.
-- Reads: group_files (entity_id, feature_time, available_at, features).
-- A late revision of an old hour never hides a newer hour that was visible already.
SELECT
    * EXCLUDE (feature_time, available_at),
    epoch_us(feature_time) AS feature_us,
    epoch_us(available_at) AS available_us
FROM group_files
QUALIFY row_number() OVER (PARTITION BY entity_id, available_at ORDER BY feature_time DESC) = 1
    AND feature_time >= max(feature_time) OVER (
        PARTITION BY entity_id ORDER BY available_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
