-- Where do links lead? The domains, and on how many items each stands.
SELECT domain, count(DISTINCT item_pk) AS items
FROM links
GROUP BY domain
ORDER BY items DESC, domain
