"""Remove the triggers of ``account_totals``, and mend the units of runs that have ended.

``archiver.catalog.counters`` creates these triggers at the end of every upgrade, and counts anew. So they do
not exist while a database is rebuilt from the journal: in PostgreSQL the row triggers of a statement see its
end, and an item of two highlights that were removed by one statement was subtracted twice.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0017"

TRIGGERS = (
    *("count_member", "uncount_member", "count_file", "uncount_file"),
    *("count_lost_blob", "count_moved_highlight"),
)


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
