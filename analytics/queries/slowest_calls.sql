WITH _s0 AS (SELECT * FROM "Calls"),
     _s1 AS (SELECT * FROM _s0 WHERE (("timestamp" >= CAST($since AS TIMESTAMP)) AND ("timestamp" < CAST($until AS TIMESTAMP)))),
     _s2 AS (SELECT * FROM _s1 ORDER BY "latency_ms" DESC NULLS LAST LIMIT 20),
     _s3 AS (SELECT "timestamp" AS "timestamp", "trace_id" AS "trace_id", "latency_ms" AS "latency_ms", "time_to_first_chunk_ms" AS "time_to_first_chunk_ms", "time_to_first_token_ms" AS "time_to_first_token_ms", "completion_tokens" AS "completion_tokens", "attempts" AS "attempts", "status" AS "status", "region" AS "region", "deployment" AS "deployment", "model" AS "model", "subscription_id" AS "subscription_id" FROM _s2),
     _s4 AS (SELECT * FROM _s3 ORDER BY "latency_ms" DESC NULLS LAST, "trace_id" ASC NULLS FIRST)
SELECT * FROM _s4
