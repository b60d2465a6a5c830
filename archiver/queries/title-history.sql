-- Which highlights of an account were renamed, and what were they called when? -p username=natgeo
SELECT highlight_pk, title, since, until
FROM highlight_titles t
WHERE username = :username AND EXISTS (
  SELECT 1 FROM changes c WHERE c.subject = 'highlight' AND c.subject_pk = t.highlight_pk AND c.field = 'title'
)
ORDER BY highlight_pk, since
