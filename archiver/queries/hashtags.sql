-- Which hashtags are used most?
SELECT name AS hashtag, count(DISTINCT item_pk) AS items
FROM hashtags
WHERE name IS NOT NULL
GROUP BY name
ORDER BY items DESC, name
LIMIT 100
