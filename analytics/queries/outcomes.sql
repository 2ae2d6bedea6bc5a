WITH "_l0_chosen" AS (WITH _s0 AS (SELECT * FROM "Calls"),
     _s1 AS (SELECT * FROM _s0 WHERE (("timestamp" >= CAST($since AS TIMESTAMP)) AND ("timestamp" < CAST($until AS TIMESTAMP))))
SELECT * FROM _s1),
     "_l1_scalar" AS MATERIALIZED (SELECT CASE WHEN typeof(_f._c1) = 'VARCHAR' AND _f._p IS NULL THEN '' ELSE _f._c1 END AS "v" FROM (SELECT 1) AS _one LEFT JOIN (SELECT _c1, true AS _p FROM (WITH _s0 AS (SELECT * FROM "_l0_chosen"),
     _s1 AS (SELECT count(*) AS "Count" FROM _s0)
SELECT * FROM _s1) AS _q(_c1) LIMIT 1) AS _f ON true),
     _s0 AS (SELECT * FROM "_l0_chosen"),
     _s1 AS (SELECT "status" AS "status", "error_code" AS "error_code", "http_status" AS "http_status", count(*) AS "calls", coalesce(sum("total_tokens"), 0) AS "tokens" FROM _s0 GROUP BY "status", "error_code", "http_status"),
     _s2 AS (SELECT "status", "error_code", "http_status", "calls", "tokens", round(CAST(((CAST(100.0 AS DOUBLE) * "calls") / "_kqlbind0") AS DOUBLE), CAST(CAST(2 AS BIGINT) AS INTEGER)) AS "share" FROM (SELECT *, (SELECT "v" FROM "_l1_scalar") AS "_kqlbind0" FROM _s1)),
     _s3 AS (SELECT "status" AS "status", "error_code" AS "error_code", "http_status" AS "http_status", "calls" AS "calls", "share" AS "share", "tokens" AS "tokens" FROM _s2),
     _s4 AS (SELECT * FROM _s3 ORDER BY "calls" DESC NULLS LAST, "status" ASC NULLS FIRST, "error_code" ASC NULLS FIRST, "http_status" ASC NULLS FIRST)
SELECT * FROM _s4
