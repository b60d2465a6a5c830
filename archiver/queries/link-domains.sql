-- Which domains do links lead to, and from how many items?
SELECT domain, count(DISTINCT item_pk) AS items
FROM links
WHERE domain IS NOT NULL
GROUP BY domain
ORDER BY items DESC, domain
