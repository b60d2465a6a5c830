-- Which accounts are archived, and how much is there of each?
SELECT username, full_name, highlights, items, files, bytes, gone_at
FROM accounts
ORDER BY bytes DESC, user_pk
