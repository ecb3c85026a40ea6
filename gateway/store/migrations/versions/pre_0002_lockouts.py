"""Sign-in: failure, lockout, known_network, sign_in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _failure()
    _lockout()
    _known_network()
    _sign_in()


def _failure() -> None:
    op.create_table(
        "failure",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("stored_tag", sa.Text, nullable=False),
        sa.Column("network", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Integer, nullable=False),
        sa.Column("known", sa.Boolean, nullable=False),
        sa.Column("confirmed", sa.Boolean, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("failure_account_network", "failure", ["subject", "network", "at"])
    op.create_index("failure_account", "failure", ["subject", "at"])
    op.create_index("failure_network", "failure", ["network", "at"])
    op.create_index("failure_at", "failure", ["at"])


def _lockout() -> None:
    op.create_table(
        "lockout",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("stored_tag", sa.Text, nullable=False),
        sa.Column("network", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    op.create_index("lockout_sheet", "lockout", ["subject", "network", "until"])
    op.create_index("lockout_network", "lockout", ["network"])
    op.create_index("lockout_until", "lockout", ["until"])


def _known_network() -> None:
    op.create_table(
        "known_network",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("network", sa.Text, primary_key=True),
        sa.Column("seen", sa.Double, nullable=False),
    )
    op.create_index("known_network_seen", "known_network", ["seen"])


def _sign_in() -> None:
    op.create_table(
        "sign_in",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("network", sa.Text, primary_key=True),
        sa.Column("mechanism", sa.Text, primary_key=True),
        sa.Column("result", sa.Text, primary_key=True),
        sa.Column("first", sa.Double, nullable=False),
        sa.Column("last", sa.Double, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_index("sign_in_day", "sign_in", ["day"])
