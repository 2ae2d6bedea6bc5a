SELECT file FROM calls WHERE id = $id LIMIT 1
