-- What was removed upstream since a date but is still archived? -p since=2026-03-25
SELECT gone_at, subject, username, title, subject_pk
FROM gone_upstream
WHERE gone_at >= :since
ORDER BY gone_at, subject, subject_pk
