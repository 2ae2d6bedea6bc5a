-- filter options in the period, regardless of the other filters; at most 100 per field, those with the most calls
SELECT field, value, calls
FROM (
    SELECT
        CASE grouping_id(region, deployment, subscription_id, product, user_id, app_id)
            WHEN 31 THEN 'region'
            WHEN 47 THEN 'deployment'
            WHEN 55 THEN 'subscription_id'
            WHEN 59 THEN 'product'
            WHEN 61 THEN 'user_id'
            WHEN 62 THEN 'app_id'
        END AS field,
        coalesce(region, deployment, subscription_id, product, user_id, app_id) AS value,
        count(*) AS calls
    FROM within($since, $before)
    GROUP BY GROUPING SETS ((region), (deployment), (subscription_id), (product), (user_id), (app_id))
)
WHERE value <> '' OR field IN ('region', 'deployment')
QUALIFY row_number() OVER (PARTITION BY field ORDER BY calls DESC, value) <= 100
ORDER BY field, lower(value), value
