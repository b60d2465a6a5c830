-- Whom does an account mention, and how often? -p username=natgeo
SELECT mentioned, count(*) AS times, min(taken_at) AS first_at, max(taken_at) AS last_at
FROM item_mentions
WHERE username = :username
GROUP BY mentioned
ORDER BY times DESC, last_at DESC NULLS LAST, min(item_pk), mentioned
