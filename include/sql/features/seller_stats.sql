-- How a seller's ads fared over the 168 hours that end with each hour, and how many are live at its end.
-- An hour's events count for the seller who owned the ad at the end of that hour.
WITH ad_tiles AS (
    SELECT
        ad_id,
        unix_timestamp(event_time) DIV 3600 AS hour_no,
        count_if(event_type = 'impression') AS impressions,
        count_if(event_type = 'contact') AS contacts
    FROM events
    WHERE ad_id IS NOT NULL
    GROUP BY ALL
),
tiles AS (
    SELECT
        ads.seller_id AS entity_id,
        ad_tiles.hour_no,
        sum(ad_tiles.impressions) AS impressions,
        sum(ad_tiles.contacts) AS contacts
    FROM ad_tiles
    INNER JOIN ads_history AS ads
        ON ads.ad_id = ad_tiles.ad_id
        AND ads.valid_from < timestamp_seconds((ad_tiles.hour_no + 1) * 3600)
        AND timestamp_seconds((ad_tiles.hour_no + 1) * 3600) <= ads.valid_to
    WHERE ads.seller_id IS NOT NULL
    GROUP BY ALL
),
items AS (
    SELECT ads.seller_id AS entity_id, hours.hour_no, count(*) AS item_count
    FROM ads_history AS ads
    INNER JOIN hours ON ads.valid_from < hours.hour_end AND hours.hour_end <= ads.valid_to
    WHERE ads.seller_id IS NOT NULL
    GROUP BY ALL
),
grid AS (
    SELECT entity_id, hour_no, 0 AS impressions, 0 AS contacts
    FROM (SELECT entity_id FROM tiles UNION SELECT entity_id FROM items) CROSS JOIN (SELECT hour_no FROM hours)
    UNION ALL
    SELECT entity_id, hour_no, impressions, contacts FROM tiles
),
hourly AS (
    SELECT entity_id, hour_no, sum(impressions) AS impressions, sum(contacts) AS contacts
    FROM grid
    GROUP BY entity_id, hour_no
),
windows AS (
    SELECT
        entity_id,
        hour_no,
        sum(impressions) OVER last_168_hours AS impressions_7d,
        sum(contacts) OVER last_168_hours AS contacts_7d
    FROM hourly
    WINDOW last_168_hours AS (
        PARTITION BY entity_id ORDER BY hour_no RANGE BETWEEN 167 PRECEDING AND CURRENT ROW
    )
)
SELECT
    hours.hour,
    windows.entity_id,
    coalesce(items.item_count, 0) AS seller_item_count,
    windows.impressions_7d AS seller_impressions_7d,
    windows.contacts_7d AS seller_contacts_7d,
    -- A window can hold a contact whose impression it has just lost: 1 is the most.
    try_divide(least(windows.contacts_7d, windows.impressions_7d), windows.impressions_7d) AS seller_avg_contact_rate
FROM windows
INNER JOIN hours ON hours.hour_no = windows.hour_no
LEFT JOIN items ON items.entity_id = windows.entity_id AND items.hour_no = windows.hour_no
WHERE coalesce(items.item_count, 0) + windows.impressions_7d + windows.contacts_7d > 0
