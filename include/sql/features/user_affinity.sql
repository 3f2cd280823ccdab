-- How a user's clicks over the window that ends with each hour spread over categories. A share begins at the category's
-- share in everybody's clicks, which weighs as much as 5 clicks.
WITH spelled AS (
    SELECT
        windows.*,
        substring_index(windows.entity_id, '|', 1) AS user_id,
        substring(windows.entity_id, locate('|', windows.entity_id) + 1) AS category
    FROM windows
),
by_category AS (
    SELECT hour_no, category, sum(clicks_28d) AS clicks
    FROM spelled
    GROUP BY hour_no, category
),
shares AS (
    SELECT hour_no, category, coalesce(try_divide(clicks, sum(clicks) OVER (PARTITION BY hour_no)), 0) AS share
    FROM by_category
),
by_user AS (
    SELECT hour_no, user_id, sum(clicks_28d) AS clicks
    FROM spelled
    GROUP BY hour_no, user_id
)
SELECT
    hours.hour,
    spelled.entity_id,
    spelled.clicks_28d AS user_category_clicks_28d,
    spelled.contacts_28d AS user_category_contacts_28d,
    (spelled.clicks_28d + 5 * shares.share) / (by_user.clicks + 5) AS user_category_affinity
FROM spelled
INNER JOIN hours ON hours.hour_no = spelled.hour_no
INNER JOIN shares ON shares.hour_no = spelled.hour_no AND shares.category = spelled.category
INNER JOIN by_user ON by_user.hour_no = spelled.hour_no AND by_user.user_id = spelled.user_id
