-- The highlights of an account in their order, with the number and size of their items: -p username=natgeo
SELECT position, title, items, bytes, highlight_pk, url, gone_at
FROM account_highlights
WHERE username = :username
ORDER BY gone_at IS NOT NULL, position NULLS LAST, highlight_pk
