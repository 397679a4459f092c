"""Everything that the first release keeps."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        predictions_by_month()
    else:
        predictions()
    outcomes()
    sums()
    registry()
    knowledge()
    work()


def predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("of_writer", sa.Integer(), nullable=True),
        sa.Column("of_seq", sa.Integer(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("refs", sa.LargeBinary(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("predictions_by_id", "predictions", ["writer", "seq"], unique=True)
    op.create_index("predictions_by_key", "predictions", ["model", "key", "target"], unique=False)
    op.create_index("predictions_by_model", "predictions", ["model", "number"], unique=False)
    op.create_index(
        "predictions_by_of",
        "predictions",
        ["of_writer", "of_seq"],
        unique=False,
        sqlite_where=sa.text("of_writer IS NOT NULL"),
        postgresql_where=sa.text("of_writer IS NOT NULL"),
    )


def predictions_by_month() -> None:
    """The same table in parts, see ``modelkeep.store.parts``: a unique key of such a table includes what parts it."""
    op.execute("CREATE SEQUENCE predictions_number_seq")
    op.create_table(
        "predictions",
        sa.Column("number", sa.Integer(), server_default=sa.text("nextval('predictions_number_seq')"), nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("of_writer", sa.Integer(), nullable=True),
        sa.Column("of_seq", sa.Integer(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("refs", sa.LargeBinary(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("writer", "seq", "at", name="predictions_by_id"),
        postgresql_partition_by="RANGE (at)",
    )
    op.execute("ALTER SEQUENCE predictions_number_seq OWNED BY predictions.number")
    early, late = 946684800.0, 4102444800.0  # the years 2000 and 2100; months in between are made when needed
    op.execute(f"CREATE TABLE predictions_early PARTITION OF predictions FOR VALUES FROM (MINVALUE) TO ({early})")
    op.execute(f"CREATE TABLE predictions_late PARTITION OF predictions FOR VALUES FROM ({late}) TO (MAXVALUE)")
    op.create_index("predictions_by_key", "predictions", ["model", "key", "target"], unique=False)
    op.create_index("predictions_by_model", "predictions", ["model", "number"], unique=False)
    op.create_index(
        "predictions_by_of",
        "predictions",
        ["of_writer", "of_seq"],
        unique=False,
        postgresql_where=sa.text("of_writer IS NOT NULL"),
    )


def outcomes() -> None:
    op.create_table(
        "matches",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("of_writer", sa.Integer(), nullable=True),
        sa.Column("of_seq", sa.Integer(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("refs", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("told", sa.Float(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("matches_by_id", "matches", ["writer", "seq"], unique=True)
    op.create_index("matches_by_key", "matches", ["model", "key", "at"], unique=False)
    op.create_index("matches_by_model", "matches", ["model", "number"], unique=False)
    op.create_index("matches_by_time", "matches", ["model", "at"], unique=False)
    op.create_table(
        "outcomes",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("writer", sa.Integer(), nullable=True),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("target", sa.Float(), nullable=True),
        sa.Column("tolerance", sa.Float(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("last", sa.Float(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        "outcomes_by_id",
        "outcomes",
        ["writer", "seq"],
        unique=False,
        sqlite_where=sa.text("writer IS NOT NULL"),
        postgresql_where=sa.text("writer IS NOT NULL"),
    )
    op.create_index(
        "outcomes_by_key",
        "outcomes",
        ["model", "key", "target"],
        unique=False,
        sqlite_where=sa.text("model IS NOT NULL"),
        postgresql_where=sa.text("model IS NOT NULL"),
    )


def sums() -> None:
    op.create_table(
        "error_sums",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hour", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "role", "hour"),
    )
    op.create_index("error_sums_by_hour", "error_sums", ["model", "hour"], unique=False)
    op.create_table(
        "memory",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "key"),
    )
    op.create_table(
        "profiles",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hour", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "role", "hour"),
    )
    op.create_table(
        "tallies",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("predictions", sa.Integer(), nullable=False),
        sa.Column("labelled", sa.Integer(), nullable=False),
        sa.Column("newest", sa.Float(), nullable=True),
        sa.Column("tolerance", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("model"),
    )


def registry() -> None:
    op.create_table(
        "policies",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "number"),
    )
    op.create_table(
        "rollouts",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("rollouts_by_model", "rollouts", ["model", "turn"], unique=True)
    op.create_table(
        "versions",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "number"),
    )


def knowledge() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened", sa.Float(), nullable=False),
        sa.Column("due", sa.Float(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("alerts_by_due", "alerts", ["due"], unique=False)
    op.create_index("alerts_by_state", "alerts", ["state", "opened"], unique=False)
    op.create_index("alerts_by_time", "alerts", ["opened"], unique=False)
    op.create_table(
        "newest",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "subject"),
    )
    op.create_table(
        "readings",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("readings_by_name", "readings", ["name", "subject", "at"], unique=False)
    op.create_index("readings_by_time", "readings", ["at"], unique=False)


def work() -> None:
    op.create_table(
        "acts",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("acts_by_subject", "acts", ["subject", "number"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "due"], unique=False)
    op.create_index("jobs_by_task", "jobs", ["task", "subject", "state"], unique=False)
    op.create_index("jobs_by_time", "jobs", ["created"], unique=False)
    op.create_table(
        "pulse",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("beat", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
