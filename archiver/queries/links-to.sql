-- The links that lead to a domain: -p domain=www.nationalgeographic.com
SELECT taken_at, username, title, url, link_title
FROM item_links
WHERE domain = :domain
ORDER BY taken_at DESC NULLS LAST, item_pk, position, user_pk
