-- How users answered an ad over the 168 hours that end with each hour: [hour_end - 168 h, hour_end).
WITH tiles AS (
    SELECT
        ad_id AS entity_id,
        unix_timestamp(event_time) DIV 3600 AS hour_no,
        count_if(event_type = 'impression') AS impressions,
        count_if(event_type = 'click') AS clicks,
        count_if(event_type = 'contact') AS contacts
    FROM events
    WHERE ad_id IS NOT NULL
    GROUP BY ALL
),
-- An ad without an event in an hour still has a window there.
grid AS (
    SELECT entity_id, hour_no, 0 AS impressions, 0 AS clicks, 0 AS contacts
    FROM (SELECT DISTINCT entity_id FROM tiles) CROSS JOIN (SELECT hour_no FROM hours)
    UNION ALL
    SELECT entity_id, hour_no, impressions, clicks, contacts FROM tiles
),
hourly AS (
    SELECT
        entity_id,
        hour_no,
        sum(impressions) AS impressions,
        sum(clicks) AS clicks,
        sum(contacts) AS contacts
    FROM grid
    GROUP BY entity_id, hour_no
),
windows AS (
    SELECT
        entity_id,
        hour_no,
        sum(impressions) OVER last_168_hours AS impressions_7d,
        sum(clicks) OVER last_168_hours AS clicks_7d,
        sum(contacts) OVER last_168_hours AS contacts_7d
    FROM hourly
    WINDOW last_168_hours AS (
        PARTITION BY entity_id ORDER BY hour_no RANGE BETWEEN 167 PRECEDING AND CURRENT ROW
    )
)
SELECT
    hours.hour,
    windows.entity_id,
    windows.impressions_7d,
    windows.clicks_7d,
    windows.contacts_7d,
    -- A window can hold a click whose impression it has just lost, or two clicks on one impression: 1 is the most.
    try_divide(least(windows.clicks_7d, windows.impressions_7d), windows.impressions_7d) AS ctr_7d
FROM windows
INNER JOIN hours ON hours.hour_no = windows.hour_no
WHERE windows.impressions_7d + windows.clicks_7d + windows.contacts_7d > 0
