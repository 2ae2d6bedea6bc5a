SELECT
    CASE $by
        WHEN 'subscription_id' THEN subscription_id
        WHEN 'product' THEN product
        WHEN 'user_id' THEN user_id
        WHEN 'app_id' THEN app_id
    END AS caller,
    count(*) AS calls,
    CAST(coalesce(sum(prompt_tokens) FILTER (counts), 0) AS BIGINT) AS prompt_tokens,
    CAST(coalesce(sum(completion_tokens) FILTER (counts), 0) AS BIGINT) AS completion_tokens
FROM chosen($since, $before, $region, $deployment, $field, $caller)
GROUP BY ALL
ORDER BY coalesce(sum(total_tokens) FILTER (counts), 0) DESC, calls DESC, caller
LIMIT 10
