-- How did the archive grow, month by month?
SELECT month, items, files, bytes, all_items, all_bytes
FROM growth
ORDER BY month
