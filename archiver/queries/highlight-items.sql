-- The items of a highlight in order, with the paths of their files: -p highlight=17983616051768088
SELECT position, taken_at, kind, picture_path, video_path, item_pk, gone_at
FROM highlight_contents
WHERE highlight_pk = :highlight
ORDER BY position, item_pk
