SELECT * EXCLUDE (file, operation, response_id, usage_source, counts)
FROM chosen($since, $before, $region, $deployment, $field, $caller)
WHERE $last_at IS NULL OR ("timestamp", id) < ($last_at, $last_id)
ORDER BY "timestamp" DESC, id DESC
LIMIT $limit
