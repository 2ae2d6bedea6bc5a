-- The view for queries: an interrupted record counts only if no finished one has its id.
CREATE OR REPLACE VIEW Calls AS
SELECT r.*
FROM records AS r
LEFT ANTI JOIN (SELECT id FROM records WHERE status <> 'interrupted') AS finished
  ON r.status = 'interrupted' AND r.id = finished.id
