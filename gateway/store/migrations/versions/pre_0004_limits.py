"""What accounts may send: usage_day, suspension, domain, credential, resend."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _usage_day()
    _suspension()
    _domain()
    _credential()
    _resend()


def _usage_day() -> None:
    op.create_table(
        "usage_day",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("to_recipients", sa.Integer, nullable=False),
        sa.Column("cc_recipients", sa.Integer, nullable=False),
        sa.Column("bcc_recipients", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
    )
    op.create_index("usage_day_day", "usage_day", ["day"])


def _suspension() -> None:
    op.create_table(
        "suspension",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("daily_limit", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("lifted", sa.Double),
    )
    active = sa.text("lifted IS NULL")
    op.create_index(
        "suspension_active", "suspension", ["account_id"], unique=True, sqlite_where=active, postgresql_where=active
    )
    op.create_index("suspension_day", "suspension", ["account_id", "day"])


def _domain() -> None:
    op.create_table(
        "domain",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("added", sa.Double, nullable=False),
    )
    op.create_index("domain_account", "domain", ["account_id"])


def _credential() -> None:
    op.create_table(
        "credential",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("domain", sa.Text, sa.ForeignKey("domain.name", ondelete="CASCADE"), nullable=False),
        sa.Column(
            "slot", sa.Integer, sa.CheckConstraint("slot BETWEEN 1 AND 5", name="credential_at_most_five"), nullable=False
        ),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("stored", sa.Text, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
        sa.Column("last_used", sa.Double),
        sa.Column("last_network", sa.Text, nullable=False),
        sa.UniqueConstraint("domain", "slot"),
        sqlite_autoincrement=True,
    )


def _resend() -> None:
    op.create_table(
        "resend",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("resend_at", "resend", ["at"])
    op.create_index("resend_account", "resend", ["account_id", "at"])
