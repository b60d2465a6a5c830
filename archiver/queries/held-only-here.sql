-- Which items of an account are no longer in any of its highlights? -p username=natgeo
SELECT gone_at, title, taken_at, picture_path, video_path, item_pk
FROM account_items
WHERE username = :username AND gone_at IS NOT NULL
ORDER BY gone_at, item_pk
