-- What is new since a date? -p since=2026-03-25
SELECT first_seen_at, username, title, kind, taken_at, picture_path, video_path
FROM account_items
WHERE item_pk IN (SELECT pk FROM items WHERE first_seen_at >= :since AND source IS NULL)
ORDER BY first_seen_at, item_pk, user_pk
