"""Run the migrations on the connection that ``archiver.catalog.schema`` passes, in its transaction.

To write a new migration::

    alembic -x database=FILE_OR_URL revision --autogenerate --rev-id NNNN -m "what changes"
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from archiver.catalog import locate
from archiver.catalog.tables import is_declared, metadata

for table in metadata.tables.values():
    for index in table.indexes:
        if (where := index.info.get("where")) is not None:
            index.dialect_kwargs.update({"sqlite_where": where, "postgresql_where": where})


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, include_name=is_declared
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    database = context.get_x_argument(as_dictionary=True)["database"]
    engine = locate(database).create_writer(foreign_keys=False)
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
