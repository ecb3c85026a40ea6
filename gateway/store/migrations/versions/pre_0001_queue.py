"""The queue: process, message, recipient, attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _process()
    _message()
    _recipient()
    _attempt()


def _process() -> None:
    op.create_table(
        "process",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )


def _message() -> None:
    op.create_table(
        "message",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("eight_bit", sa.Boolean, nullable=False),
        sa.Column("smtputf8", sa.Boolean, nullable=False),
        sa.Column("ret", sa.Text, nullable=False),
        sa.Column("envid", sa.Text, nullable=False),
        sa.Column("accepted", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("body_size", sa.Integer, nullable=False),
        sa.Column("body_file", sa.Text),
        sa.Column("header", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary),
    )
    _partial_index("message_finished", "message", "finished", "finished IS NOT NULL")
    _partial_index("message_body_file", "message", "body_file", "body_file IS NOT NULL")


def _recipient() -> None:
    op.create_table(
        "recipient",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("message_id", sa.Text, sa.ForeignKey("message.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt", sa.Double, nullable=False),
        sa.Column("process", sa.Integer),
        sa.Column("notify", sa.Text, nullable=False),
        sa.Column("orcpt", sa.Text, nullable=False),
        sa.Column("delay_warned", sa.Boolean, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("enhanced", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("hop", sa.Text, nullable=False),
        sa.Column("finished", sa.Double),
        sqlite_autoincrement=True,
    )
    op.create_index("recipient_message", "recipient", ["message_id"])
    _partial_index("recipient_due", "recipient", "next_attempt", "state = 'queued' AND process IS NULL")
    _partial_index("recipient_unfinished", "recipient", "state", "finished IS NULL")


def _attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("recipient_id", _NUMBER, sa.ForeignKey("recipient.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("enhanced", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("hop", sa.Text, nullable=False),
        sa.Column("remote", sa.Text, nullable=False),
    )
    op.create_index("attempt_recipient", "attempt", ["recipient_id"])


def _partial_index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
