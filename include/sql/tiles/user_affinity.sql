-- What a user clicked and contacted in each hour, by the category that the ad had at its end.
-- Only who did something is kept: most users see most categories.
WITH answers AS (
    SELECT
        hour_no,
        ad_id,
        user_id,
        count_if(event_type = 'click') AS clicks,
        count_if(event_type = 'contact') AS contacts
    FROM events
    WHERE ad_id IS NOT NULL AND user_id IS NOT NULL AND event_type IN ('click', 'contact')
    GROUP BY ALL
)
SELECT
    answers.hour_no,
    concat(replace(replace(answers.user_id, '%', '%25'), '|', '%7C'), '|', ads.category) AS entity_id,
    sum(answers.clicks) AS clicks,
    sum(answers.contacts) AS contacts
FROM answers
INNER JOIN ads_history AS ads
    ON ads.ad_id = answers.ad_id
    AND ads.valid_from < timestamp_seconds((answers.hour_no + 1) * 3600)
    AND timestamp_seconds((answers.hour_no + 1) * 3600) <= ads.valid_to
WHERE ads.category IS NOT NULL
GROUP BY ALL
