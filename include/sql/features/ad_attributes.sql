-- What every live ad was at the end of each hour.
WITH live AS (
    SELECT
        hours.hour,
        hours.hour_end,
        ads.ad_id,
        ads.price,
        ads.created_at,
        ads.image_quality_score,
        -- Decimals have the same mean in whatever order Spark adds them up; doubles do not.
        CAST(avg(CAST(ads.price AS DECIMAL(28, 10))) OVER (PARTITION BY hours.hour, ads.category) AS DOUBLE)
            AS category_mean_price
    FROM ads_history AS ads
    INNER JOIN hours ON ads.valid_from < hours.hour_end AND hours.hour_end <= ads.valid_to
)
SELECT
    hour,
    ad_id AS entity_id,
    CASE WHEN created_at IS NOT NULL
        THEN greatest((unix_timestamp(hour_end) - unix_timestamp(created_at)) DIV 86400, 0)
    END AS days_since_creation,
    try_divide(price, category_mean_price) - 1 AS price_deviation_from_category_mean,
    image_quality_score
FROM live
