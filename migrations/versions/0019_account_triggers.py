"""Remove the triggers of ``account_totals``; mend the units of ended runs, and since when a title is there.

``archiver.catalog.counters`` creates these triggers at the end of every upgrade, and counts anew. So they do
not exist while a database is rebuilt from the journal: in PostgreSQL the row triggers of a statement see its
end, and an item of two highlights that were removed by one statement was subtracted twice.

A shared run that was killed is closed: workers cannot read the options that an older version gave it.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0017"

TRIGGERS = (
    *("count_member", "uncount_member", "count_file", "uncount_file"),
    *("count_lost_blob", "count_moved_highlight"),
)

# The change before, or the last one: by their order, since the dates are those of clocks.
SINCE = """(
    SELECT p.at FROM changes p
    WHERE p.subject = 'highlight' AND p.subject_pk = h.pk AND p.field = 'title'{before}
    ORDER BY p.id DESC LIMIT 1
)"""
TITLES = """
    SELECT u.pk AS user_pk, u.username, h.pk AS highlight_pk, c.old AS title,
        COALESCE({before}, h.first_seen_at) AS since, c.at AS until
    FROM highlights h JOIN users u ON u.pk = h.user_pk CROSS JOIN changes c
    WHERE c.subject_pk = h.pk AND c.subject = 'highlight' AND c.field = 'title'
    UNION ALL
    SELECT u.pk, u.username, h.pk, h.title, COALESCE({last}, h.first_seen_at), CAST(NULL AS {moment})
    FROM highlights h JOIN users u ON u.pk = h.user_pk
"""


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name in TRIGGERS:
        if is_postgresql:
            op.execute(f"DROP FUNCTION IF EXISTS totals_{name}() CASCADE")
        else:
            op.execute(f"DROP TRIGGER IF EXISTS {name}")
    # A call that was settled after its run had ended may have changed its price.
    op.execute(
        "UPDATE runs SET units = COALESCE((SELECT sum(units) FROM api_calls WHERE run_id = runs.id), 0)"
        " WHERE outcome IS NOT NULL"
    )
    op.execute("UPDATE shared_runs SET closed_at = CURRENT_TIMESTAMP WHERE closed_at IS NULL")
    op.execute("DROP VIEW highlight_titles")
    titles = TITLES.format(
        before=SINCE.format(before=" AND p.id < c.id"),
        last=SINCE.format(before=""),
        moment="timestamptz" if is_postgresql else "text",
    )
    op.execute(f"CREATE VIEW highlight_titles AS {titles}")
