-- What every live ad was at the end of each hour.
-- The price that an ad's price is compared with is the earliest known one of the 168 hours: that of their first moment,
-- or the first one that a younger ad had. `former` says for each version at the end of which hours it is that one, so
-- the hours come in last, when versions are one row for as long as nothing changes.
WITH former AS (
    SELECT
        ad_id,
        price,
        lag(valid_to) OVER versions + INTERVAL 168 HOURS AS first_for,
        CASE WHEN lead(valid_to) OVER versions IS NOT NULL THEN valid_to + INTERVAL 168 HOURS END AS last_for
    FROM ads_history
    WHERE price IS NOT NULL
    WINDOW versions AS (PARTITION BY ad_id ORDER BY valid_from)
),
priced AS (
    SELECT
        ads.ad_id,
        ads.category,
        ads.title,
        ads.price,
        ads.created_at,
        ads.image_quality_score,
        try_divide(ads.price, former.price) - 1 AS price_change_7d,
        greatest(ads.valid_from, former.first_for) AS valid_from,
        least(ads.valid_to, former.last_for) AS valid_to
    FROM ads_history AS ads
    LEFT JOIN former
        ON ads.ad_id = former.ad_id
        AND (former.first_for IS NULL OR former.first_for < ads.valid_to)
        AND (former.last_for IS NULL OR ads.valid_from < former.last_for)
),
live AS (
    SELECT hours.hour, hours.hour_end, priced.*
    FROM priced
    INNER JOIN hours ON priced.valid_from < hours.hour_end AND hours.hour_end <= priced.valid_to
),
-- Decimals have the same mean in whatever order Spark adds them up; doubles do not.
categories AS (
    SELECT
        hour,
        category,
        CAST(avg(try_cast(price AS DECIMAL(28, 10))) AS DOUBLE) AS price,
        CAST(avg(try_cast(price_change_7d AS DECIMAL(28, 10))) AS DOUBLE) AS price_change_7d
    FROM live
    GROUP BY hour, category
)
SELECT /*+ BROADCAST(categories) */
    live.hour,
    live.ad_id AS entity_id,
    CASE WHEN live.created_at IS NOT NULL
        THEN greatest((unix_timestamp(live.hour_end) - unix_timestamp(live.created_at)) DIV 86400, 0)
    END AS days_since_creation,
    live.price,
    try_divide(live.price, categories.price) - 1 AS price_deviation_from_category_mean,
    live.price_change_7d,
    live.price_change_7d - categories.price_change_7d AS price_change_7d_to_category,
    live.image_quality_score,
    char_length(live.title) AS title_length
FROM live
INNER JOIN categories ON live.hour = categories.hour AND live.category <=> categories.category
