SELECT * EXCLUDE (filename) REPLACE (
    CAST("timestamp" AS TIMESTAMP) AS "timestamp",
    CAST(started_at AS TIMESTAMP) AS started_at
)
FROM (
    SELECT * FROM _columns
    UNION ALL BY NAME
    SELECT * FROM read_parquet($files, hive_partitioning = false, filename = true)
)
WHERE id = $id
