WITH _s0 AS (SELECT * FROM "Calls"),
     _s1 AS (SELECT * FROM _s0 WHERE (("timestamp" >= CAST($since AS TIMESTAMP)) AND ("timestamp" < CAST($until AS TIMESTAMP)))),
     _s2 AS (SELECT * FROM _s1 WHERE (("time_to_first_chunk_ms" IS NOT NULL) AND CASE WHEN typeof("status") = 'JSON' THEN coalesce((coalesce("status" ->> '$', '') = 'completed'), FALSE) ELSE coalesce(("status" = 'completed'), FALSE) END)),
     _s3 AS (SELECT "region" AS "region", hour("timestamp") AS "hour", count(*) AS "calls", quantile_disc("time_to_first_chunk_ms", CAST(50 AS BIGINT) / 100.0) AS "queue_p50", quantile_disc("time_to_first_chunk_ms", CAST(95 AS BIGINT) / 100.0) AS "queue_p95" FROM _s2 GROUP BY "region", hour("timestamp")),
     _s4 AS (SELECT * FROM _s3 ORDER BY "region" ASC NULLS FIRST, "hour" ASC NULLS FIRST)
SELECT * FROM _s4
