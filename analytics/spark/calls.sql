-- The view for queries: an interrupted record counts only if no finished one has its id, and the usage of a response
-- only in the earliest record that reports it (analytics/counted.py).
CREATE OR REPLACE VIEW Calls AS
WITH kept AS (
  SELECT r.*
  FROM records AS r
  LEFT ANTI JOIN (SELECT id FROM records WHERE status <> 'interrupted') AS finished
    ON r.status = 'interrupted' AND r.id = finished.id
),
told AS (
  SELECT response_id AS told_response, min_by(id, struct(timestamp, id)) AS told_by
  FROM kept
  WHERE usage_source = 'reported' AND response_id IN (
    SELECT response_id FROM kept WHERE operation = 'fetch_response' AND response_id <> ''
  )
  GROUP BY response_id
)
SELECT
    timestamp,
    started_at,
    id,
    trace_id,
    span_id,
    type,
    schema_version,
    operation,
    model,
    deployment,
    api_version,
    region,
    backend,
    attempts,
    attempts_made,
    spilled_over,
    stream,
    status,
    http_status,
    error_code,
    finish_reasons,
    latency_ms,
    time_to_first_chunk_ms,
    time_to_first_token_ms,
    streaming_duration_ms,
    chunks,
    CASE WHEN told_by <> id THEN NULL ELSE prompt_tokens END AS prompt_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE completion_tokens END AS completion_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE total_tokens END AS total_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE cached_tokens END AS cached_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE cache_write_tokens END AS cache_write_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE cache_write_1h_tokens END AS cache_write_1h_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE audio_prompt_tokens END AS audio_prompt_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE image_prompt_tokens END AS image_prompt_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE cached_audio_tokens END AS cached_audio_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE cached_image_tokens END AS cached_image_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE reasoning_tokens END AS reasoning_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE audio_completion_tokens END AS audio_completion_tokens,
    CASE WHEN told_by <> id THEN NULL ELSE image_completion_tokens END AS image_completion_tokens,
    usage_source,
    subscription_id,
    product,
    user_id,
    app_id,
    object_id,
    session_id,
    service_tier,
    system_fingerprint,
    response_id,
    response_status,
    previous_response_id,
    conversation_id,
    served_by,
    spilled_from,
    upstream_ms,
    remaining_requests,
    remaining_tokens,
    CASE WHEN told_by <> id THEN '' ELSE units END AS units,
    output_size,
    output_quality,
    hosted_calls,
    request_id,
    apim_request_id,
    client_request_id,
    audio_id,
    request_bytes,
    response_bytes,
    content_captured,
    truncated,
    content_bytes,
    content_ref,
    content_filter,
    error_message,
    instructions,
    request,
    prompt,
    content,
    refusal,
    reasoning,
    tool_calls,
    choices,
    more
FROM kept
LEFT JOIN told ON kept.response_id = told.told_response
