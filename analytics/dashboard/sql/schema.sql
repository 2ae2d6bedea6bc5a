ATTACH ':memory:' AS cache (COMPRESS);
USE cache;

CREATE TABLE calls (
    "timestamp" TIMESTAMP,
    id VARCHAR,
    model VARCHAR,
    deployment VARCHAR,
    region VARCHAR,
    status VARCHAR,
    stream BOOLEAN,
    http_status BIGINT,
    error_code VARCHAR,
    finish_reasons VARCHAR,
    attempts BIGINT,
    latency_ms INTEGER,
    time_to_first_chunk_ms INTEGER,
    time_to_first_token_ms INTEGER,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    total_tokens BIGINT,
    subscription_id VARCHAR,
    product VARCHAR,
    user_id VARCHAR,
    app_id VARCHAR,
    operation VARCHAR,
    response_id VARCHAR,
    usage_source VARCHAR,
    counts BOOLEAN DEFAULT true,
    file VARCHAR
);

-- calls that ended in a period
CREATE MACRO within(since, before) AS TABLE
SELECT * FROM calls
WHERE "timestamp" >= since AND "timestamp" < before;

-- of those, the calls of a region, deployment and caller; null selects all
CREATE MACRO chosen(since, before, of_region, of_deployment, caller_field, of_caller) AS TABLE
SELECT * FROM within(since, before)
WHERE (of_region IS NULL OR region = of_region)
    AND (of_deployment IS NULL OR deployment = of_deployment)
    AND (of_caller IS NULL OR of_caller = CASE caller_field
        WHEN 'subscription_id' THEN subscription_id
        WHEN 'product' THEN product
        WHEN 'user_id' THEN user_id
        WHEN 'app_id' THEN app_id
    END);
