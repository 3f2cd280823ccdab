-- What users did with an ad in each hour.
-- An impression counts as examined as often as its position is looked at; a position nobody knows of, always.
SELECT
    events.hour_no,
    events.ad_id AS entity_id,
    count_if(events.event_type = 'impression') AS impressions,
    count_if(events.event_type = 'click') AS clicks,
    count_if(events.event_type = 'contact') AS contacts,
    coalesce(sum(CAST(round(events.revenue * 1000000) AS BIGINT)), 0) AS revenue_micros,
    coalesce(sum(CASE WHEN events.event_type = 'impression' THEN coalesce(examination.ppm, 1000000) END), 0)
        AS examined_ppm
FROM events
LEFT JOIN examination ON examination.day_no = events.hour_no DIV 24 AND examination.position = events.position
WHERE events.ad_id IS NOT NULL
GROUP BY ALL
