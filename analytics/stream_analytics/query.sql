-- The records by Azure Stream Analytics. Made by python -m analytics.engines from query.sql.template.
--
-- Input hub: the hub, as JSON. Output table: Data Lake, Parquet, path day={datetime:yyyy-MM-dd}/hour={datetime:HH}.
-- Output aside: JSON lines. Function text: text.js. Repeats of an id within the same hour of the job's clock are dropped, an
-- interrupted and a finished record both stay, and fields beyond these columns are left out.
WITH records AS (
  SELECT
    TRY_CAST(e.[timestamp] AS datetime) AS [timestamp],
    TRY_CAST(e.[started_at] AS datetime) AS [started_at],
    COALESCE(TRY_CAST(e.[id] AS nvarchar(max)), '') AS [id],
    COALESCE(TRY_CAST(e.[trace_id] AS nvarchar(max)), '') AS [trace_id],
    COALESCE(TRY_CAST(e.[span_id] AS nvarchar(max)), '') AS [span_id],
    COALESCE(TRY_CAST(e.[type] AS nvarchar(max)), '') AS [type],
    TRY_CAST(e.[schema_version] AS bigint) AS [schema_version],
    COALESCE(TRY_CAST(e.[operation] AS nvarchar(max)), '') AS [operation],
    COALESCE(TRY_CAST(e.[model] AS nvarchar(max)), '') AS [model],
    COALESCE(TRY_CAST(e.[deployment] AS nvarchar(max)), '') AS [deployment],
    COALESCE(TRY_CAST(e.[api_version] AS nvarchar(max)), '') AS [api_version],
    COALESCE(TRY_CAST(e.[region] AS nvarchar(max)), '') AS [region],
    COALESCE(TRY_CAST(e.[backend] AS nvarchar(max)), '') AS [backend],
    TRY_CAST(e.[attempts] AS bigint) AS [attempts],
    COALESCE(udf.text(e.[attempts_made]), '') AS [attempts_made],
    COALESCE(TRY_CAST(e.[spilled_over] AS bit), 0) AS [spilled_over],
    COALESCE(TRY_CAST(e.[stream] AS bit), 0) AS [stream],
    COALESCE(TRY_CAST(e.[status] AS nvarchar(max)), '') AS [status],
    TRY_CAST(e.[http_status] AS bigint) AS [http_status],
    COALESCE(TRY_CAST(e.[error].[code] AS nvarchar(max)), '') AS [error_code],
    COALESCE(udf.text(e.[finish_reasons]), '') AS [finish_reasons],
    TRY_CAST(e.[latency_ms] AS bigint) AS [latency_ms],
    TRY_CAST(e.[time_to_first_chunk_ms] AS bigint) AS [time_to_first_chunk_ms],
    TRY_CAST(e.[time_to_first_token_ms] AS bigint) AS [time_to_first_token_ms],
    TRY_CAST(e.[streaming_duration_ms] AS bigint) AS [streaming_duration_ms],
    TRY_CAST(e.[chunks] AS bigint) AS [chunks],
    TRY_CAST(e.[usage].[prompt_tokens] AS bigint) AS [prompt_tokens],
    TRY_CAST(e.[usage].[completion_tokens] AS bigint) AS [completion_tokens],
    TRY_CAST(e.[usage].[total_tokens] AS bigint) AS [total_tokens],
    COALESCE(TRY_CAST(e.[usage].[prompt_tokens_details].[cached_tokens] AS bigint), TRY_CAST(e.[usage].[input_tokens_details].[cached_tokens] AS bigint)) AS [cached_tokens],
    COALESCE(TRY_CAST(e.[usage].[prompt_tokens_details].[audio_tokens] AS bigint), TRY_CAST(e.[usage].[input_tokens_details].[audio_tokens] AS bigint)) AS [audio_prompt_tokens],
    COALESCE(TRY_CAST(e.[usage].[completion_tokens_details].[reasoning_tokens] AS bigint), TRY_CAST(e.[usage].[output_tokens_details].[reasoning_tokens] AS bigint)) AS [reasoning_tokens],
    COALESCE(TRY_CAST(e.[usage].[completion_tokens_details].[audio_tokens] AS bigint), TRY_CAST(e.[usage].[output_tokens_details].[audio_tokens] AS bigint)) AS [audio_completion_tokens],
    COALESCE(TRY_CAST(e.[usage_source] AS nvarchar(max)), '') AS [usage_source],
    COALESCE(TRY_CAST(e.[caller].[subscription_id] AS nvarchar(max)), '') AS [subscription_id],
    COALESCE(TRY_CAST(e.[caller].[product] AS nvarchar(max)), '') AS [product],
    COALESCE(TRY_CAST(e.[caller].[user_id] AS nvarchar(max)), '') AS [user_id],
    COALESCE(TRY_CAST(e.[caller].[app_id] AS nvarchar(max)), '') AS [app_id],
    COALESCE(TRY_CAST(e.[caller].[object_id] AS nvarchar(max)), '') AS [object_id],
    COALESCE(TRY_CAST(e.[caller].[session_id] AS nvarchar(max)), '') AS [session_id],
    COALESCE(TRY_CAST(e.[service_tier] AS nvarchar(max)), '') AS [service_tier],
    COALESCE(TRY_CAST(e.[system_fingerprint] AS nvarchar(max)), '') AS [system_fingerprint],
    COALESCE(TRY_CAST(e.[response_id] AS nvarchar(max)), '') AS [response_id],
    COALESCE(TRY_CAST(e.[apim_request_id] AS nvarchar(max)), '') AS [apim_request_id],
    COALESCE(TRY_CAST(e.[client_request_id] AS nvarchar(max)), '') AS [client_request_id],
    COALESCE(TRY_CAST(e.[audio_id] AS nvarchar(max)), '') AS [audio_id],
    TRY_CAST(e.[request_bytes] AS bigint) AS [request_bytes],
    TRY_CAST(e.[response_bytes] AS bigint) AS [response_bytes],
    COALESCE(TRY_CAST(e.[content_captured] AS bit), 1) AS [content_captured],
    COALESCE(TRY_CAST(e.[truncated] AS bit), 0) AS [truncated],
    TRY_CAST(e.[content_bytes] AS bigint) AS [content_bytes],
    COALESCE(TRY_CAST(e.[content_ref] AS nvarchar(max)), '') AS [content_ref],
    COALESCE(udf.text(e.[content_filter]), '') AS [content_filter],
    COALESCE(TRY_CAST(e.[error].[message] AS nvarchar(max)), '') AS [error_message],
    COALESCE(udf.text(e.[instructions]), '') AS [instructions],
    COALESCE(udf.text(e.[prompt]), '') AS [prompt],
    COALESCE(TRY_CAST(e.[content] AS nvarchar(max)), '') AS [content],
    COALESCE(TRY_CAST(e.[refusal] AS nvarchar(max)), '') AS [refusal],
    COALESCE(TRY_CAST(e.[reasoning] AS nvarchar(max)), '') AS [reasoning],
    COALESCE(udf.text(e.[tool_calls]), '') AS [tool_calls],
    COALESCE(udf.text(e.[choices]), '') AS [choices],
    ISFIRST(hour, 1) OVER (PARTITION BY e.[id], e.[status]) AS is_first
  FROM hub AS e TIMESTAMP BY e.EventEnqueuedUtcTime
)

SELECT [timestamp], [started_at], [id], [trace_id], [span_id], [type], [schema_version], [operation], [model], [deployment], [api_version], [region], [backend], [attempts], [attempts_made], [spilled_over], [stream], [status], [http_status], [error_code], [finish_reasons], [latency_ms], [time_to_first_chunk_ms], [time_to_first_token_ms], [streaming_duration_ms], [chunks], [prompt_tokens], [completion_tokens], [total_tokens], [cached_tokens], [audio_prompt_tokens], [reasoning_tokens], [audio_completion_tokens], [usage_source], [subscription_id], [product], [user_id], [app_id], [object_id], [session_id], [service_tier], [system_fingerprint], [response_id], [apim_request_id], [client_request_id], [audio_id], [request_bytes], [response_bytes], [content_captured], [truncated], [content_bytes], [content_ref], [content_filter], [error_message], [instructions], [prompt], [content], [refusal], [reasoning], [tool_calls], [choices]
INTO [table]
FROM records
WHERE is_first = 1 AND [timestamp] IS NOT NULL AND [type] <> ''

SELECT *
INTO [aside]
FROM hub AS e TIMESTAMP BY e.EventEnqueuedUtcTime
WHERE TRY_CAST(e.[timestamp] AS datetime) IS NULL OR e.[type] IS NULL
