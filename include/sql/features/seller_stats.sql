-- How a seller's ads fared over the windows that end with each hour, how many are live at its end, and since when the
-- seller is there. Smoothed rates begin at the rate over all sellers, which weighs as much as 50 impressions or 10 contacts.
WITH items AS (
    SELECT ads.seller_id AS entity_id, hours.hour_no, count(*) AS item_count
    FROM ads_history AS ads
    INNER JOIN hours ON ads.valid_from < hours.hour_end AND hours.hour_end <= ads.valid_to
    WHERE ads.seller_id IS NOT NULL
    GROUP BY ALL
),
overall AS (
    SELECT
        hour_no,
        (sum(contacts_28d) + 1) / (sum(impressions_28d) + 100) AS contact_rate,
        (sum(sales_28d) + 1) / (sum(contacts_28d) + 10) AS sales_per_contact
    FROM windows
    GROUP BY hour_no
),
known AS (
    SELECT
        coalesce(windows.hour_no, items.hour_no) AS hour_no,
        coalesce(windows.entity_id, items.entity_id) AS entity_id,
        coalesce(items.item_count, 0) AS item_count,
        coalesce(windows.impressions_7d, 0) AS impressions_7d,
        coalesce(windows.contacts_7d, 0) AS contacts_7d,
        coalesce(windows.impressions_28d, 0) AS impressions_28d,
        coalesce(windows.contacts_28d, 0) AS contacts_28d,
        coalesce(windows.sales_28d, 0) AS sales_28d
    FROM windows
    FULL JOIN items ON items.entity_id = windows.entity_id AND items.hour_no = windows.hour_no
)
SELECT
    hours.hour,
    known.entity_id,
    known.item_count AS seller_item_count,
    known.impressions_7d AS seller_impressions_7d,
    known.contacts_7d AS seller_contacts_7d,
    try_divide(known.contacts_7d, known.impressions_7d) AS seller_avg_contact_rate,
    least(
        (known.contacts_28d + 50 * coalesce(overall.contact_rate, 0.01)) / (known.impressions_28d + 50), 1
    ) AS seller_contact_rate_28d_smoothed,
    least(
        (known.sales_28d + 10 * coalesce(overall.sales_per_contact, 0.1)) / (known.contacts_28d + 10), 1
    ) AS seller_sales_per_contact_28d,
    CASE WHEN sellers.created_at IS NOT NULL
        THEN greatest((unix_timestamp(hours.hour_end) - unix_timestamp(sellers.created_at)) DIV 86400, 0)
    END AS seller_tenure_days
FROM known
INNER JOIN hours ON hours.hour_no = known.hour_no
LEFT JOIN overall ON overall.hour_no = known.hour_no
LEFT JOIN sellers_history AS sellers
    ON sellers.seller_id = known.entity_id
    AND sellers.valid_from < hours.hour_end AND hours.hour_end <= sellers.valid_to
