"""What the service keeps: API keys, deployments of aliases, feedback, requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the four tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("concurrent", sa.Integer),
        sa.Column("created", moment, nullable=False),
        sa.Column("last_used", moment),
        sa.Column("revoked", moment),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("sha256", name="uq_api_keys_sha256"),
    )
    good = sa.text("revoked IS NULL")
    op.create_index(
        "uq_api_keys_name", "api_keys", ["name"], unique=True, sqlite_where=good, postgresql_where=good
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("rolled_back", moment),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
    )
    op.create_index("ix_deployments_alias", "deployments", ["alias", "id"])
    op.create_table(
        "feedback",
        sa.Column("answer_id", sa.Text),
        sa.Column("rating", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("corrected", sa.Text),
        sa.Column("key_id", sa.Integer),
        sa.Column("created", moment, nullable=False),
        sa.PrimaryKeyConstraint("answer_id", name="pk_feedback"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_feedback_key_id"),
        sa.CheckConstraint("rating IN ('up', 'down')", name="ck_feedback_rating"),
    )
    op.create_index("ix_feedback_created", "feedback", ["created"])
    op.create_table(
        "requests",
        sa.Column("answer_id", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON),
        sa.Column("finish", sa.Text),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("started", moment, nullable=False),
        sa.Column("first_token_seconds", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("key_id", sa.Integer),
        sa.PrimaryKeyConstraint("answer_id", name="pk_requests"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_requests_key_id"),
    )
    op.create_index("ix_requests_started", "requests", ["started"])
