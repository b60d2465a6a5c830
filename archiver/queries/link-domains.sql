-- Where do links lead? The domains, and on how many items each stands.
SELECT domain, count(DISTINCT item_pk) AS items
FROM links
WHERE domain IS NOT NULL
GROUP BY domain
ORDER BY items DESC, domain
