-- A row of the table from an event's JSON. Made by python -m analytics.engines from rows.sql.template.
WITH opened AS (
  SELECT
    body,
    enqueued,
    from_json(body, 'timestamp STRING, started_at STRING, id STRING, trace_id STRING, span_id STRING, type STRING, schema_version BIGINT, operation STRING, model STRING, deployment STRING, api_version STRING, region STRING, backend STRING, attempts BIGINT, attempts_made VARIANT, spilled_over BOOLEAN, stream BOOLEAN, status STRING, http_status BIGINT, error STRUCT<code: STRING, message: STRING>, finish_reasons ARRAY<STRING>, latency_ms BIGINT, time_to_first_chunk_ms BIGINT, time_to_first_token_ms BIGINT, streaming_duration_ms BIGINT, chunks BIGINT, usage STRUCT<prompt_tokens: BIGINT, completion_tokens: BIGINT, total_tokens: BIGINT, prompt_tokens_details: STRUCT<cached_tokens: BIGINT, audio_tokens: BIGINT>, input_tokens_details: STRUCT<cached_tokens: BIGINT, audio_tokens: BIGINT>, completion_tokens_details: STRUCT<reasoning_tokens: BIGINT, audio_tokens: BIGINT>, output_tokens_details: STRUCT<reasoning_tokens: BIGINT, audio_tokens: BIGINT>>, usage_source STRING, caller STRUCT<subscription_id: STRING, product: STRING, user_id: STRING, app_id: STRING, object_id: STRING, session_id: STRING>, service_tier STRING, system_fingerprint STRING, response_id STRING, apim_request_id STRING, client_request_id STRING, audio_id STRING, request_bytes BIGINT, response_bytes BIGINT, content_captured BOOLEAN, truncated BOOLEAN, content_bytes BIGINT, content_ref STRING, content_filter VARIANT, instructions VARIANT, prompt VARIANT, content STRING, refusal STRING, reasoning STRING, tool_calls VARIANT, choices VARIANT') AS r,
    from_json(body, 'MAP<STRING, VARIANT>') AS fields
  FROM {events}
),
flat AS (
  SELECT
    try_to_timestamp(rtrim('Z', r.timestamp)) AS timestamp,
    try_to_timestamp(rtrim('Z', r.started_at)) AS started_at,
    coalesce(r.id, '') AS id,
    coalesce(r.trace_id, '') AS trace_id,
    coalesce(r.span_id, '') AS span_id,
    coalesce(r.type, '') AS type,
    r.schema_version AS schema_version,
    coalesce(r.operation, '') AS operation,
    coalesce(r.model, '') AS model,
    coalesce(r.deployment, '') AS deployment,
    coalesce(r.api_version, '') AS api_version,
    coalesce(r.region, '') AS region,
    coalesce(r.backend, '') AS backend,
    r.attempts AS attempts,
    coalesce(nullif(to_json(r.attempts_made), 'null'), '') AS attempts_made,
    coalesce(r.spilled_over, false) AS spilled_over,
    coalesce(r.stream, false) AS stream,
    coalesce(r.status, '') AS status,
    r.http_status AS http_status,
    coalesce(r.error.code, '') AS error_code,
    coalesce(array_join(r.finish_reasons, ','), '') AS finish_reasons,
    r.latency_ms AS latency_ms,
    r.time_to_first_chunk_ms AS time_to_first_chunk_ms,
    r.time_to_first_token_ms AS time_to_first_token_ms,
    r.streaming_duration_ms AS streaming_duration_ms,
    r.chunks AS chunks,
    r.usage.prompt_tokens AS prompt_tokens,
    r.usage.completion_tokens AS completion_tokens,
    r.usage.total_tokens AS total_tokens,
    coalesce(r.usage.prompt_tokens_details.cached_tokens, r.usage.input_tokens_details.cached_tokens) AS cached_tokens,
    coalesce(r.usage.prompt_tokens_details.audio_tokens, r.usage.input_tokens_details.audio_tokens) AS audio_prompt_tokens,
    coalesce(r.usage.completion_tokens_details.reasoning_tokens, r.usage.output_tokens_details.reasoning_tokens) AS reasoning_tokens,
    coalesce(r.usage.completion_tokens_details.audio_tokens, r.usage.output_tokens_details.audio_tokens) AS audio_completion_tokens,
    coalesce(r.usage_source, '') AS usage_source,
    coalesce(r.caller.subscription_id, '') AS subscription_id,
    coalesce(r.caller.product, '') AS product,
    coalesce(r.caller.user_id, '') AS user_id,
    coalesce(r.caller.app_id, '') AS app_id,
    coalesce(r.caller.object_id, '') AS object_id,
    coalesce(r.caller.session_id, '') AS session_id,
    coalesce(r.service_tier, '') AS service_tier,
    coalesce(r.system_fingerprint, '') AS system_fingerprint,
    coalesce(r.response_id, '') AS response_id,
    coalesce(r.apim_request_id, '') AS apim_request_id,
    coalesce(r.client_request_id, '') AS client_request_id,
    coalesce(r.audio_id, '') AS audio_id,
    r.request_bytes AS request_bytes,
    r.response_bytes AS response_bytes,
    coalesce(r.content_captured, true) AS content_captured,
    coalesce(r.truncated, false) AS truncated,
    r.content_bytes AS content_bytes,
    coalesce(r.content_ref, '') AS content_ref,
    coalesce(nullif(to_json(r.content_filter), 'null'), '') AS content_filter,
    coalesce(r.error.message, '') AS error_message,
    coalesce(nullif(to_json(r.instructions), 'null'), '') AS instructions,
    coalesce(nullif(to_json(r.prompt), 'null'), '') AS prompt,
    coalesce(r.content, '') AS content,
    coalesce(r.refusal, '') AS refusal,
    coalesce(r.reasoning, '') AS reasoning,
    coalesce(nullif(to_json(r.tool_calls), 'null'), '') AS tool_calls,
    coalesce(nullif(to_json(r.choices), 'null'), '') AS choices,
    CASE
      WHEN size(map_filter(fields, (name, value) -> name NOT IN ('api_version', 'apim_request_id', 'attempts', 'attempts_made', 'audio_id', 'backend', 'caller', 'choices', 'chunks', 'client_request_id', 'content', 'content_bytes', 'content_captured', 'content_filter', 'content_ref', 'deployment', 'error', 'finish_reasons', 'http_status', 'id', 'instructions', 'latency_ms', 'model', 'operation', 'prompt', 'reasoning', 'refusal', 'region', 'request_bytes', 'response_bytes', 'response_id', 'schema_version', 'service_tier', 'span_id', 'spilled_over', 'started_at', 'status', 'stream', 'streaming_duration_ms', 'system_fingerprint', 'time_to_first_chunk_ms', 'time_to_first_token_ms', 'timestamp', 'tool_calls', 'trace_id', 'truncated', 'type', 'usage', 'usage_source'))) > 0
        THEN to_json(map_filter(fields, (name, value) -> name NOT IN ('api_version', 'apim_request_id', 'attempts', 'attempts_made', 'audio_id', 'backend', 'caller', 'choices', 'chunks', 'client_request_id', 'content', 'content_bytes', 'content_captured', 'content_filter', 'content_ref', 'deployment', 'error', 'finish_reasons', 'http_status', 'id', 'instructions', 'latency_ms', 'model', 'operation', 'prompt', 'reasoning', 'refusal', 'region', 'request_bytes', 'response_bytes', 'response_id', 'schema_version', 'service_tier', 'span_id', 'spilled_over', 'started_at', 'status', 'stream', 'streaming_duration_ms', 'system_fingerprint', 'time_to_first_chunk_ms', 'time_to_first_token_ms', 'timestamp', 'tool_calls', 'trace_id', 'truncated', 'type', 'usage', 'usage_source')))
      ELSE ''
    END AS more,
    fields,
    body,
    enqueued
  FROM opened
),
judged AS (
  SELECT
    *,
    CASE
      WHEN fields IS NULL OR cardinality(fields) = 0 THEN 'no JSON object'
      WHEN size(array_except(array('type', 'content', 'model', 'region', 'timestamp', 'usage', 'latency_ms', 'prompt'), map_keys(fields))) > 0
        THEN concat('without ', array_join(array_except(array('type', 'content', 'model', 'region', 'timestamp', 'usage', 'latency_ms', 'prompt'), map_keys(fields)), ', '))
      WHEN timestamp IS NULL THEN 'timestamp cannot be read'
      ELSE ''
    END AS reason
  FROM flat
)
SELECT
  * EXCEPT (fields, id),
  CASE WHEN id = '' THEN left(sha2(body, 256), 32) ELSE id END AS id,
  date_format(coalesce(started_at, timestamp), 'yyyy-MM-dd') AS day,
  date_format(coalesce(started_at, timestamp), 'HH') AS hour
FROM judged
