-- What the archive knows to be missing, and why: one row for each gap, in the order of accounts and
-- highlights: of some accounts, if of_accounts is given, or of all.
WITH
own_highlights AS (SELECT pk FROM highlights WHERE user_pk IN :user_pks), -- if of_accounts
own_items AS ( -- if of_accounts
    SELECT DISTINCT item_pk FROM highlight_items -- if of_accounts
    WHERE highlight_pk IN (SELECT pk FROM own_highlights) -- if of_accounts
), -- if of_accounts
-- Not those that only another tool has seen: nothing says which files they have.
listed_items AS (
    SELECT pk, media_type FROM items WHERE source IS NULL -- if not of_accounts
    -- By subqueries, also below: -- if of_accounts
    -- PostgreSQL would rather read all items than join some thousand. -- if of_accounts
    SELECT item_pk AS pk, (SELECT media_type FROM items WHERE pk = item_pk) AS media_type -- if of_accounts
    FROM own_items -- if of_accounts
    WHERE (SELECT source FROM items WHERE pk = item_pk) IS NULL -- if of_accounts
),
-- Highlights with an open failure, of their own page or of a file of an item that they show.
failing AS (
    SELECT subject_pk AS highlight_pk FROM failures
    WHERE subject = 'highlight' AND role IS NULL AND resolved_at IS NULL
    UNION
    SELECT m.highlight_pk FROM failures f JOIN highlight_items m ON m.item_pk = f.subject_pk
    WHERE f.subject = 'item' AND f.resolved_at IS NULL AND m.gone_at IS NULL
),
-- The last resolved failure of each file of an item: it was downloaded, or is no longer offered.
last_resolved AS (
    SELECT subject_pk AS item_pk, role, max(id) AS failure_id FROM failures
    WHERE subject = 'item' AND role IS NOT NULL AND resolved_at IS NOT NULL
    GROUP BY subject_pk, role
),
item_roles AS (SELECT 'thumbnail' AS role UNION ALL SELECT 'video'),
gap AS (
    -- Open failures. A name is left out if its account is listed below, as private or gone.
    SELECT
        f.reason, f.subject, f.subject_pk, f.role, f.detail, f.attempts, f.first_at, f.last_at, f.next_try_at,
        CAST(NULL AS bigint) AS present, CAST(NULL AS bigint) AS counted
    FROM failures f
    WHERE f.resolved_at IS NULL AND NOT (f.subject = 'target' AND EXISTS (
        SELECT 1 FROM users u
        WHERE u.verdict IN ('private', 'gone') AND (u.pk = f.subject_pk OR EXISTS (
            SELECT 1 FROM usernames n WHERE n.user_pk = u.pk AND n.username = f.subject_pk
        ))
    ))
    AND CASE f.subject -- if of_accounts
        WHEN 'user' THEN f.subject_pk IN :user_pks -- if of_accounts
        WHEN 'highlight' THEN f.subject_pk IN (SELECT pk FROM own_highlights) -- if of_accounts
        WHEN 'item' THEN f.subject_pk IN (SELECT item_pk FROM own_items) -- if of_accounts
        ELSE :with_targets = 1 -- if of_accounts
    END -- if of_accounts

    UNION ALL -- accounts that are private or gone
    SELECT
        u.verdict, 'user', u.pk, NULL, NULL, u.verdict_checks,
        CASE u.verdict WHEN 'gone' THEN u.gone_at END, u.verdict_at, u.verdict_due_at, NULL, NULL
    FROM users u
    WHERE u.verdict IN ('private', 'gone')
    AND u.pk IN :user_pks -- if of_accounts

    UNION ALL -- items that lack a file, without an open failure that says why
    -- Once every file of a page was tried, each of them is stored or has an open failure. So this file was
    -- no longer offered after it failed, or was never offered; or no page of the item was tried ('not_yet').
    SELECT
        CASE WHEN NOT EXISTS (
            SELECT 1 FROM highlight_items m JOIN highlights h ON h.pk = m.highlight_pk
            WHERE m.item_pk = i.pk AND h.tried_at IS NOT NULL
        ) THEN 'not_yet' ELSE coalesce(f.reason, 'never_offered') END,
        'item', i.pk, r.role, f.detail, f.attempts, f.first_at, f.last_at, NULL, NULL, NULL
    FROM listed_items i
    JOIN item_roles r ON r.role = 'thumbnail' OR i.media_type = 2
    LEFT JOIN last_resolved l ON l.item_pk = i.pk AND l.role = r.role
    LEFT JOIN failures f ON f.id = l.failure_id
    WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.item_pk = i.pk AND files.role = r.role) -- if not of_accounts
    WHERE (SELECT count(*) FROM files WHERE files.item_pk = i.pk AND files.role = r.role) = 0 -- if of_accounts
    AND NOT EXISTS (
        SELECT 1 FROM failures o
        WHERE o.subject = 'item' AND o.subject_pk = i.pk AND o.role = r.role AND o.resolved_at IS NULL
    )

    UNION ALL -- highlights that were not fetched, or not completed, though nothing failed
    SELECT
        'not_yet', 'highlight', h.pk, NULL, NULL, NULL, h.first_seen_at, h.fetched_at, NULL,
        NULL, h.media_count
    FROM highlights h
    JOIN users u ON u.pk = h.user_pk
    WHERE h.gone_at IS NULL AND h.completed_at IS NULL AND coalesce(u.verdict, '') NOT IN ('private', 'gone')
    AND h.pk NOT IN (SELECT highlight_pk FROM failing)
    AND h.user_pk IN :user_pks -- if of_accounts

    UNION ALL -- highlights with fewer items than the tray counted when they were fetched
    SELECT
        'fewer_than_counted', 'highlight', h.pk, NULL, NULL, NULL, NULL, h.fetched_at, NULL,
        h.present, h.counted
    FROM (
        SELECT
            pk, fetched_at, coalesce(fetched_media_count, media_count) AS counted,
            (
                SELECT count(*) FROM highlight_items m
                WHERE m.highlight_pk = highlights.pk AND m.gone_at IS NULL
            ) AS present
        FROM highlights
        WHERE gone_at IS NULL AND fetched_at IS NOT NULL
        AND user_pk IN :user_pks -- if of_accounts
    ) h
    WHERE h.present < h.counted

    UNION ALL -- files whose bytes are lost, without another file of the same owner and role
    SELECT
        'lost', l.subject, l.subject_pk, l.role, NULL, NULL, min(l.lost_at), NULL, NULL, NULL, NULL
    FROM (
        SELECT
            CASE
                WHEN f.item_pk IS NOT NULL THEN 'item'
                WHEN f.highlight_pk IS NOT NULL THEN 'highlight'
                ELSE 'user'
            END AS subject,
            coalesce(f.item_pk, f.highlight_pk, f.user_pk) AS subject_pk, f.role, b.lost_at
        -- CROSS: SQLite reads the few lost blobs first, not all files.
        FROM blobs b
        CROSS JOIN files f
        WHERE f.sha256 = b.sha256 AND b.lost_at IS NOT NULL
        AND NOT EXISTS (
            SELECT 1 FROM files o JOIN blobs ob ON ob.sha256 = o.sha256
            WHERE o.item_pk = f.item_pk AND o.role = f.role AND ob.lost_at IS NULL
        )
        AND NOT EXISTS (
            SELECT 1 FROM files o JOIN blobs ob ON ob.sha256 = o.sha256
            WHERE o.highlight_pk = f.highlight_pk AND o.role = f.role AND ob.lost_at IS NULL
        )
        AND NOT EXISTS (
            SELECT 1 FROM files o JOIN blobs ob ON ob.sha256 = o.sha256
            WHERE o.user_pk = f.user_pk AND o.role = f.role AND ob.lost_at IS NULL
        )
    ) l
    GROUP BY l.subject, l.subject_pk, l.role
),
named_gap AS (
    SELECT
        g.*,
        CASE g.subject WHEN 'user' THEN g.subject_pk ELSE coalesce(h.user_pk, i.user_pk) END AS user_pk,
        CASE g.subject WHEN 'target' THEN coalesce(u.username, g.subject_pk) ELSE u.username END AS username,
        CASE g.subject WHEN 'highlight' THEN g.subject_pk ELSE h.pk END AS highlight_pk,
        h.title, i.code, h.position AS tray_position, m.position AS item_position,
        CASE
            WHEN m.gone_at IS NOT NULL OR h.gone_at IS NOT NULL THEN 1
            WHEN g.subject = 'user' AND g.reason = 'lost' AND u.gone_at IS NOT NULL THEN 1
            ELSE 0
        END AS gone
    FROM gap g
    LEFT JOIN items i ON g.subject = 'item' AND i.pk = g.subject_pk
    -- An item is listed with one of its highlights: one that still shows it, if there is one.
    LEFT JOIN highlights h ON h.pk = CASE g.subject WHEN 'highlight' THEN g.subject_pk WHEN 'item' THEN (
        SELECT o.highlight_pk FROM highlight_items o JOIN highlights oh ON oh.pk = o.highlight_pk
        WHERE o.item_pk = i.pk
        ORDER BY o.gone_at IS NOT NULL, oh.gone_at IS NOT NULL, o.highlight_pk
        LIMIT 1
    ) END
    LEFT JOIN highlight_items m ON m.highlight_pk = h.pk AND m.item_pk = i.pk
    LEFT JOIN users u ON u.pk = CASE
        WHEN g.subject IN ('user', 'target') THEN g.subject_pk ELSE coalesce(h.user_pk, i.user_pk)
    END
    -- An item whose page was never tried is listed only if its highlight failed: otherwise the highlight is
    -- the gap.
    WHERE NOT (g.subject = 'item' AND g.reason = 'not_yet') OR h.pk IN (SELECT highlight_pk FROM failing)
)
SELECT
    reason, subject, subject_pk, role, user_pk, username, highlight_pk, title, code,
    coalesce(detail, '') AS detail, attempts, first_at, last_at, next_try_at, gone = 1 AS is_gone,
    present, counted
FROM named_gap
WHERE user_pk IN :user_pks OR subject = 'target' -- if of_accounts
ORDER BY
    coalesce(username, user_pk, highlight_pk), coalesce(user_pk, ''), coalesce(tray_position, -1),
    coalesce(highlight_pk, ''), coalesce(item_position, -1), coalesce(role, ''), subject, subject_pk, reason
