SELECT
    make_timestamp(epoch_us("timestamp") // $bin_us * $bin_us) AS "at",  -- three times as fast as time_bucket
    count(*) FILTER (status = 'completed') AS completed,
    count(*) FILTER (status = 'client_aborted') AS aborted,
    count(*) FILTER (status NOT IN ('completed', 'client_aborted')) AS failed,
    quantile_disc(time_to_first_chunk_ms, [0.5, 0.95]) AS first_chunk,
    quantile_disc(time_to_first_token_ms, [0.5, 0.95]) AS first_token
FROM chosen($since, $before, $region, $deployment, $field, $caller)
GROUP BY ALL
ORDER BY "at"
