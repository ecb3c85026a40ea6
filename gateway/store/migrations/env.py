"""What Alembic runs around the scripts: on the connection handed in, one transaction each.

No logging configuration here: Alembic's usual `fileConfig` would switch the program's own loggers off.
"""

from alembic import context

from gateway.store.schema import metadata

_LOCK = 7268371  # any number of our own: two machines that migrate at once take turns

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    connection.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
