-- Which items of an account are in several of its highlights? -p username=natgeo
SELECT item_pk, highlights, title, position, highlight_pk
FROM shared_items
WHERE username = :username
ORDER BY item_pk, highlight_pk
