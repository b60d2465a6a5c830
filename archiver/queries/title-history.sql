-- What were the highlights of an account called, and when? Those that were renamed: -p username=natgeo
SELECT highlight_pk, title, since, until
FROM highlight_titles t
WHERE username = :username AND EXISTS (
  SELECT 1 FROM changes c WHERE c.subject = 'highlight' AND c.subject_pk = t.highlight_pk AND c.field = 'title'
)
ORDER BY highlight_pk, since
