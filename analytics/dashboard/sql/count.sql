-- a response's usage counts once, in the earliest record that reports it (analytics/counted.py)
UPDATE calls SET counts = true WHERE NOT counts;

UPDATE calls SET counts = told.id IS NULL OR told.id = calls.id
FROM (
    SELECT response_id, arg_min(id, ("timestamp", id)) AS id
    FROM calls
    WHERE usage_source = 'reported'
        AND response_id IN (SELECT response_id FROM calls WHERE operation = 'fetch_response' AND response_id <> '')
    GROUP BY response_id
) AS told
WHERE calls.response_id = told.response_id
