"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _teams_and_tokens()
    _clusters_and_secrets()
    _route_configs()
    _listeners()
    _references()
    _history()
    _audit()
    _api_definitions()
    _dataplanes()


def _teams_and_tokens() -> None:
    op.create_table(
        "teams",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("history_floor", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("name", name=op.f("uq_teams_name")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("team_id", NUMBER, nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_tokens_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )


def _clusters_and_secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_secrets_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_secrets")),
    )
    op.create_index(op.f("ix_secrets_team_id_owner"), "secrets", ["team_id", "owner"], unique=False)
    op.create_table(
        "clusters",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_clusters_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_clusters")),
    )
    op.create_index(op.f("ix_clusters_team_id_owner"), "clusters", ["team_id", "owner"], unique=False)


def _route_configs() -> None:
    op.create_table(
        "route_configs",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_route_configs_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_route_configs")),
    )
    op.create_index(op.f("ix_route_configs_team_id_owner"), "route_configs", ["team_id", "owner"], unique=False)
    op.create_table(
        "routes",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("route_config", NAME, nullable=False),
        sa.Column("virtual_host", NAME, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "route_config"],
            ["route_configs.team_id", "route_configs.name"],
            name=op.f("fk_routes_team_id_route_config"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_routes_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_routes")),
    )
    op.create_index(op.f("ix_routes_team_id_owner"), "routes", ["team_id", "owner"], unique=False)
    op.create_index(
        op.f("ix_routes_team_id_route_config_virtual_host_position"),
        "routes",
        ["team_id", "route_config", "virtual_host", "position"],
        unique=False,
    )


def _listeners() -> None:
    op.create_table(
        "listeners",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_listeners_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_listeners")),
    )
    op.create_index(op.f("ix_listeners_team_id_owner"), "listeners", ["team_id", "owner"], unique=False)
    op.create_index(op.f("ix_listeners_team_id_port"), "listeners", ["team_id", "port"], unique=False)


def _references() -> None:
    op.create_table(
        "cluster_secret_refs",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "source"],
            ["clusters.team_id", "clusters.name"],
            name=op.f("fk_cluster_secret_refs_team_id_source"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "target"],
            ["secrets.team_id", "secrets.name"],
            name=op.f("fk_cluster_secret_refs_team_id_target"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("team_id", "source", "target", name=op.f("pk_cluster_secret_refs")),
    )
    op.create_index(
        op.f("ix_cluster_secret_refs_team_id_target"), "cluster_secret_refs", ["team_id", "target"], unique=False
    )
    op.create_table(
        "listener_cluster_refs",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "source"],
            ["listeners.team_id", "listeners.name"],
            name=op.f("fk_listener_cluster_refs_team_id_source"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "target"],
            ["clusters.team_id", "clusters.name"],
            name=op.f("fk_listener_cluster_refs_team_id_target"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("team_id", "source", "target", name=op.f("pk_listener_cluster_refs")),
    )
    op.create_index(
        op.f("ix_listener_cluster_refs_team_id_target"), "listener_cluster_refs", ["team_id", "target"], unique=False
    )
    op.create_table(
        "listener_route_config_refs",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "source"],
            ["listeners.team_id", "listeners.name"],
            name=op.f("fk_listener_route_config_refs_team_id_source"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "target"],
            ["route_configs.team_id", "route_configs.name"],
            name=op.f("fk_listener_route_config_refs_team_id_target"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("team_id", "source", "target", name=op.f("pk_listener_route_config_refs")),
    )
    op.create_index(
        op.f("ix_listener_route_config_refs_team_id_target"),
        "listener_route_config_refs",
        ["team_id", "target"],
        unique=False,
    )
    op.create_table(
        "listener_secret_refs",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "source"],
            ["listeners.team_id", "listeners.name"],
            name=op.f("fk_listener_secret_refs_team_id_source"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "target"],
            ["secrets.team_id", "secrets.name"],
            name=op.f("fk_listener_secret_refs_team_id_target"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("team_id", "source", "target", name=op.f("pk_listener_secret_refs")),
    )
    op.create_index(
        op.f("ix_listener_secret_refs_team_id_target"), "listener_secret_refs", ["team_id", "target"], unique=False
    )
    op.create_table(
        "route_cluster_refs",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "source"],
            ["routes.team_id", "routes.name"],
            name=op.f("fk_route_cluster_refs_team_id_source"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "target"],
            ["clusters.team_id", "clusters.name"],
            name=op.f("fk_route_cluster_refs_team_id_target"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("team_id", "source", "target", name=op.f("pk_route_cluster_refs")),
    )
    op.create_index(
        op.f("ix_route_cluster_refs_team_id_target"), "route_cluster_refs", ["team_id", "target"], unique=False
    )


def _history() -> None:
    op.create_table(
        "revisions",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("surface", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_revisions_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("team_id", "number", name=op.f("pk_revisions")),
    )
    op.create_table(
        "changes",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["team_id", "revision"],
            ["revisions.team_id", "revisions.number"],
            name=op.f("fk_changes_team_id_revision"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("team_id", "revision", "seq", name=op.f("pk_changes")),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("team", NAME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("surface", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_team_id"), "audit", ["team", "id"], unique=False)


def _api_definitions() -> None:
    op.create_table(
        "api_definitions",
        sa.Column("team_id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("document_hash", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("last_applied", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_api_definitions_team_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_api_definitions")),
    )


def _dataplanes() -> None:
    op.create_table(
        "dataplanes",
        sa.Column("id", NAME, nullable=False),
        sa.Column("team_id", NUMBER, nullable=True),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("envoy_version", sa.Text(), nullable=False),
        sa.Column("replica", sa.Text(), nullable=False),
        sa.Column("connected", sa.Boolean(), nullable=False),
        sa.Column("first_seen", MOMENT, nullable=False),
        sa.Column("last_seen", MOMENT, nullable=False),
        sa.Column("revision_acked", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_dataplanes_team_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataplanes")),
    )
    op.create_index(op.f("ix_dataplanes_team_id"), "dataplanes", ["team_id"], unique=False)
    op.create_table(
        "refusals",
        sa.Column("dataplane_id", NAME, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("last_good", sa.LargeBinary(), nullable=True),
        sa.Column("last_good_version", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataplane_id"], ["dataplanes.id"], name=op.f("fk_refusals_dataplane_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataplane_id", "type", "resource", name=op.f("pk_refusals")),
    )
