-- The items that mention an account: -p username=natgeo
SELECT taken_at, username, title, item_url
FROM item_mentions
WHERE mentioned = :username
ORDER BY taken_at DESC NULLS LAST, item_pk, user_pk
