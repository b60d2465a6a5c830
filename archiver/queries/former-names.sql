-- Which accounts had another username before?
SELECT u.username, n.username AS former, n.first_seen_at, n.last_seen_at
FROM usernames n
JOIN users u ON u.pk = n.user_pk
WHERE n.username <> u.username
ORDER BY n.last_seen_at DESC, n.user_pk, n.username
