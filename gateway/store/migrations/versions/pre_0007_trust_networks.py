"""Failures inside a network that an account is known from: counted there by the wider network."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("failure", sa.Column("trust_network", sa.Text, nullable=False, server_default=""))
    op.add_column("failure", sa.Column("exact", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("failure_trust_network", "failure", ["trust_network", "at"])
