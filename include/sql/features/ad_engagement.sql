-- How users answered an ad over the windows that end with each hour.
-- Smoothed rates begin at the category's rate, which itself begins at everybody's: the prior weighs as much as 20
-- impressions (50 for the rarer contacts), the category's own prior as much as 100. A window can hold an answer whose
-- impression it has just lost, so a smoothed rate is cut off at 1.
WITH counted AS (
    SELECT hours.hour, windows.*, ads.category
    FROM windows
    INNER JOIN hours ON hours.hour_no = windows.hour_no
    LEFT JOIN ads_history AS ads
        ON ads.ad_id = windows.entity_id AND ads.valid_from < hours.hour_end AND hours.hour_end <= ads.valid_to
),
by_category AS (
    SELECT
        hour_no,
        category,
        sum(impressions_28d) AS impressions,
        sum(examined_ppm_28d) / 1000000 AS examined,
        sum(clicks_28d) AS clicks,
        sum(contacts_28d) AS contacts
    FROM counted
    GROUP BY hour_no, category
),
overall AS (
    SELECT
        hour_no,
        (sum(clicks) + 1) / (sum(impressions) + 20) AS ctr,
        (sum(contacts) + 1) / (sum(impressions) + 100) AS contact_rate,
        (sum(clicks) + 1) / (sum(examined) + 20) AS corrected_ctr
    FROM by_category
    GROUP BY hour_no
),
priors AS (
    SELECT
        by_category.hour_no,
        by_category.category,
        (by_category.clicks + 100 * overall.ctr) / (by_category.impressions + 100) AS ctr,
        (by_category.contacts + 100 * overall.contact_rate) / (by_category.impressions + 100) AS contact_rate,
        (by_category.clicks + 100 * overall.corrected_ctr) / (by_category.examined + 100) AS corrected_ctr
    FROM by_category
    INNER JOIN overall ON overall.hour_no = by_category.hour_no
)
SELECT
    counted.hour,
    counted.entity_id,
    counted.impressions_1h,
    counted.impressions_24h,
    counted.impressions_7d,
    counted.impressions_28d,
    counted.clicks_1h,
    counted.clicks_24h,
    counted.clicks_7d,
    counted.clicks_28d,
    counted.contacts_1h,
    counted.contacts_24h,
    counted.contacts_7d,
    counted.contacts_28d,
    counted.revenue_micros_1h / 1000000 AS revenue_1h,
    counted.revenue_micros_24h / 1000000 AS revenue_24h,
    counted.revenue_micros_7d / 1000000 AS revenue_7d,
    counted.revenue_micros_28d / 1000000 AS revenue_28d,
    try_divide(counted.clicks_7d, counted.impressions_7d) AS ctr_7d,
    least((counted.clicks_7d + 20 * priors.ctr) / (counted.impressions_7d + 20), 1) AS ctr_7d_smoothed,
    least((counted.contacts_28d + 50 * priors.contact_rate) / (counted.impressions_28d + 50), 1)
        AS contact_rate_28d_smoothed,
    least((counted.clicks_28d + 20 * priors.corrected_ctr) / (counted.examined_ppm_28d / 1000000 + 20), 1)
        AS ctr_28d_position_corrected,
    counted.hour_no - counted.last_impressions AS hours_since_impression,
    counted.hour_no - counted.last_clicks AS hours_since_click,
    counted.hour_no - counted.last_contacts AS hours_since_contact
FROM counted
INNER JOIN priors ON priors.hour_no = counted.hour_no AND priors.category <=> counted.category
