-- What users did with a seller's ads in each hour. An hour's events count for the seller who owned the ad at its end.
WITH ad_tiles AS (
    SELECT
        hour_no,
        ad_id,
        count_if(event_type = 'impression') AS impressions,
        count_if(event_type = 'click') AS clicks,
        count_if(event_type = 'contact') AS contacts,
        count_if(event_type = 'sale') AS sales
    FROM events
    WHERE ad_id IS NOT NULL
    GROUP BY ALL
)
SELECT
    ad_tiles.hour_no,
    ads.seller_id AS entity_id,
    sum(ad_tiles.impressions) AS impressions,
    sum(ad_tiles.clicks) AS clicks,
    sum(ad_tiles.contacts) AS contacts,
    sum(ad_tiles.sales) AS sales
FROM ad_tiles
INNER JOIN ads_history AS ads
    ON ads.ad_id = ad_tiles.ad_id
    AND ads.valid_from < timestamp_seconds((ad_tiles.hour_no + 1) * 3600)
    AND timestamp_seconds((ad_tiles.hour_no + 1) * 3600) <= ads.valid_to
WHERE ads.seller_id IS NOT NULL
GROUP BY ALL
