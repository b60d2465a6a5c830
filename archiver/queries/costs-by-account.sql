-- What did each account cost since a date? -p since=2026-03-01
SELECT username, month, count(*) AS calls, sum(units) AS units
FROM paid_calls
WHERE at >= :since
GROUP BY user_pk, username, month
ORDER BY units DESC, user_pk NULLS LAST, month
