SELECT
    count(*) AS calls,
    count(*) FILTER (status = 'completed') AS completed,
    count(*) FILTER (status = 'client_aborted') AS aborted,
    count(*) FILTER (status NOT IN ('completed', 'client_aborted')) AS failed,
    count(*) FILTER (error_code = 'content_filter' OR contains(finish_reasons, 'content_filter')) AS filtered,
    CAST(sum(prompt_tokens) FILTER (counts) AS BIGINT) AS prompt_tokens,
    CAST(sum(completion_tokens) FILTER (counts) AS BIGINT) AS completion_tokens,
    quantile_disc(time_to_first_chunk_ms, [0.5, 0.95]) AS first_chunk,
    quantile_disc(time_to_first_token_ms, [0.5, 0.95]) AS first_token,
    quantile_disc(latency_ms, [0.5, 0.95]) AS latency
FROM chosen($since, $before, $region, $deployment, $field, $caller)
