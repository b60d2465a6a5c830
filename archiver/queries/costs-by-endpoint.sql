-- What did each endpoint cost since a date? -p since=2026-03-01
SELECT path, count(*) AS calls, sum(units) AS units
FROM paid_calls
WHERE at >= :since
GROUP BY path
ORDER BY units DESC, path
