SELECT count(*) AS calls, min("timestamp") AS first, max("timestamp") AS last FROM calls
