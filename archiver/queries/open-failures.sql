-- What could not be fetched, and when will it be tried again?
SELECT last_at, subject, subject_pk, role, reason, attempts, next_try_at
FROM failures
WHERE resolved_at IS NULL
ORDER BY last_at DESC, id
