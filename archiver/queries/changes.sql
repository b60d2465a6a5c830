-- What did an account change, add or remove? The latest first: -p username=natgeo
SELECT at, title, subject, subject_pk, field, old, new
FROM named_changes
WHERE username = :username
ORDER BY id DESC
