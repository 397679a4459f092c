"""People among the records: whose a prediction is, who consented, who looked, what was erased."""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SUBJECT = 2  # the place of the person in the packed rest of a prediction
_MANY = 1000


def upgrade() -> None:
    people()
    archive()
    said()


def people() -> None:
    op.add_column("predictions", sa.Column("subject", sa.Text(), nullable=True))
    op.create_index(
        "predictions_by_subject",
        "predictions",
        ["subject", "number"],
        unique=False,
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    _known_subjects()
    op.create_table(
        "consents",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("granted", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("consents_by_subject", "consents", ["subject", "number"], unique=False)
    op.create_table(
        "keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("master", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "accesses",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("accesses_by_subject", "accesses", ["subject", "number"], unique=False)
    op.create_index("accesses_by_time", "accesses", ["at"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("erasures_by_subject", "erasures", ["subject"], unique=False)


def _known_subjects() -> None:
    """Copy the persons of earlier predictions out of what was packed, where they could not be searched."""
    rows = sa.table("predictions", sa.column("number"), sa.column("body"), sa.column("subject"))
    connection, last = op.get_bind(), 0
    write = sa.update(rows).where(rows.c.number == sa.bindparam("x_number")).values(subject=sa.bindparam("x_subject"))
    while True:
        query = sa.select(rows.c.number, rows.c.body).where(rows.c.number > last).order_by(rows.c.number).limit(_MANY)
        found = connection.execute(query).all()
        if not found:
            return
        packed = ((number, msgspec.msgpack.decode(body)) for number, body in found)
        named = [{"x_number": n, "x_subject": rest[_SUBJECT]} for n, rest in packed if rest[_SUBJECT] is not None]
        if named:
            connection.execute(write, named)
        last = found[-1].number


def said() -> None:
    op.create_index("predictions_by_time", "predictions", ["model", "at", "number"], unique=False)
    op.create_table(
        "feedback",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("feedback_by_prediction", "feedback", ["writer", "seq"], unique=False)
    op.create_index("feedback_by_model", "feedback", ["model", "at"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("reviews_by_prediction", "reviews", ["writer", "seq"], unique=False)
    op.create_index("reviews_by_model", "reviews", ["model", "at"], unique=False)


def archive() -> None:
    op.create_table(
        "reading_days",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("day", sa.Float(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("total", sa.Float(), nullable=False),
        sa.Column("worst", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "subject", "day"),
    )
    op.create_table(
        "archived",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("labelled", sa.Integer(), nullable=False),
        sa.Column("at_low", sa.Float(), nullable=False),
        sa.Column("at_high", sa.Float(), nullable=False),
        sa.Column("target_low", sa.Float(), nullable=False),
        sa.Column("target_high", sa.Float(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("match_last", sa.Integer(), nullable=False),
        sa.Column("outcome_last", sa.Integer(), nullable=False),
        sa.Column("bare", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Float(), nullable=False),
        sa.Column("retired", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("archived_by_time", "archived", ["retired", "model", "at_high"], unique=False)
    op.create_index("archived_by_target", "archived", ["retired", "model", "target_high"], unique=False)
    op.create_index("archived_by_outcome", "archived", ["outcome_last"], unique=False)
    op.create_table(
        "archived_ids",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("high", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "kind", "writer"),
    )
    op.create_index("archived_ids_by_writer", "archived_ids", ["kind", "writer", "high"], unique=False)
    op.create_table(
        "thawed",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "writer", "seq"),
    )
