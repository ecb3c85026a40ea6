"""Indexes from which a queue of a million is counted, its oldest found, and what is held for an account."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    unfinished = sa.text("finished IS NULL")
    columns = ["state", "delay_warned", "id", "attempts"]
    op.create_index("recipient_waiting", "recipient", columns, sqlite_where=unfinished, postgresql_where=unfinished)
    op.drop_index("recipient_unfinished", "recipient")
    op.drop_index("recipient_due", "recipient")
    due = sa.text("state = 'queued' AND process IS NULL")
    op.create_index("recipient_due", "recipient", ["next_attempt", "id"], sqlite_where=due, postgresql_where=due)
    op.add_column("recipient", sa.Column("held_account", sa.Text))
    op.execute(
        "UPDATE recipient SET held_account = (SELECT account_id FROM message WHERE message.id = recipient.message_id)"
        " WHERE state = 'held' AND hold = 'account'"
    )
    held_back = sa.text("state = 'held' AND hold = 'account'")
    op.create_index("recipient_held_account", "recipient", ["held_account"], sqlite_where=held_back, postgresql_where=held_back)
