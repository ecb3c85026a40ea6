"""What machines that share a store need: process.heartbeat, an index of leases, body_chunk."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("process", sa.Column("heartbeat", sa.Double, nullable=False, server_default="0"))
    leased = sa.text("process IS NOT NULL")
    op.create_index("recipient_lease", "recipient", ["process"], sqlite_where=leased, postgresql_where=leased)
    op.create_table(
        "body_chunk",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Mail hardly shrinks, and trying takes longer than writing it
        op.execute("ALTER TABLE body_chunk ALTER data SET STORAGE EXTERNAL")
        # Rows of the queue change state often: room for their next versions, and dead ones collected before they are many
        op.execute("ALTER TABLE recipient SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01)")
