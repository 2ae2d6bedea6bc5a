INSERT INTO calls BY NAME
SELECT
    CAST("timestamp" AS TIMESTAMP) AS "timestamp",
    id, model, deployment, region, status, stream, http_status, error_code, finish_reasons, attempts,
    latency_ms, time_to_first_chunk_ms, time_to_first_token_ms, prompt_tokens, completion_tokens, total_tokens,
    subscription_id, product, user_id, app_id, operation, response_id, usage_source,
    filename AS file
FROM (
    -- the empty table provides every column, including those that older files lack
    SELECT * FROM _columns
    UNION ALL BY NAME
    SELECT * FROM read_parquet($files, union_by_name = true, hive_partitioning = false, filename = true)
)
