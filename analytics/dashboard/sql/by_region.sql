SELECT
    region,
    deployment,
    count(*) AS calls,
    quantile_disc(time_to_first_chunk_ms, [0.5, 0.95]) AS first_chunk,
    quantile_disc(time_to_first_token_ms, [0.5, 0.95]) AS first_token
FROM chosen($since, $before, $region, $deployment, $field, $caller)
GROUP BY ALL
ORDER BY calls DESC, region, deployment
LIMIT 8
