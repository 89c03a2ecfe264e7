"""The tables. Names are the keys: a row of a team is found by (team_id, name), and every reference is a
foreign key to such a pair, so that one into another team cannot be written.

Documents are JSON text. Text compares by code point in both databases.
"""  # noqa: D205

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
)

from headgate.controlplane.model.kinds import Kind
from headgate.controlplane.model.rows import RowKind


class Moment(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite keeps it without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


NAME = Text().with_variant(Text(collation="C"), "postgresql")
NUMBER = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

teams = Table(
    "teams",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    # History reaches back to this revision; what was before it is pruned.
    Column("history_floor", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
)


def _team_id(*, nullable: bool = False) -> Column[int]:
    return Column("team_id", NUMBER, ForeignKey("teams.id", ondelete="RESTRICT"), nullable=nullable)


def _resource(name: str, *extra: Any) -> Table:
    return Table(
        name,
        metadata,
        _team_id(),
        Column("name", NAME, nullable=False),
        Column("spec", Text, nullable=False),
        Column("owner", NAME, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("created_at", Moment, nullable=False),
        Column("updated_at", Moment, nullable=False),
        *extra,
        PrimaryKeyConstraint("team_id", "name"),
        Index(None, "team_id", "owner"),
    )


clusters = _resource("clusters")
secrets = _resource("secrets")
route_configs = _resource("route_configs")
listeners = _resource(
    "listeners",
    Column("address", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Index(None, "team_id", "port"),
)
routes = _resource(
    "routes",
    Column("route_config", NAME, nullable=False),
    Column("virtual_host", NAME, nullable=False),
    Column("position", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["team_id", "route_config"], ["route_configs.team_id", "route_configs.name"], ondelete="CASCADE"
    ),
    Index(None, "team_id", "route_config", "virtual_host", "position"),
)

KIND_TABLES: dict[RowKind, Table] = {
    "secret": secrets,
    "cluster": clusters,
    "route_config": route_configs,
    "route": routes,
    "listener": listeners,
}
"""In the order rows must be made; the reverse is the order they must go."""


def _references(source: Table, target: Table) -> Table:
    singular = target.name.removesuffix("s")
    return Table(
        f"{source.name.removesuffix('s')}_{singular}_refs",
        metadata,
        Column("team_id", NUMBER, nullable=False),
        Column("source", NAME, nullable=False),
        Column("target", NAME, nullable=False),
        PrimaryKeyConstraint("team_id", "source", "target"),
        ForeignKeyConstraint(["team_id", "source"], [source.c.team_id, source.c.name], ondelete="CASCADE"),
        ForeignKeyConstraint(["team_id", "target"], [target.c.team_id, target.c.name], ondelete="RESTRICT"),
        Index(None, "team_id", "target"),
    )


REFERENCE_TABLES: dict[tuple[RowKind, Kind], Table] = {
    ("cluster", "secret"): _references(clusters, secrets),
    ("route", "cluster"): _references(routes, clusters),
    ("listener", "route_config"): _references(listeners, route_configs),
    ("listener", "cluster"): _references(listeners, clusters),
    ("listener", "secret"): _references(listeners, secrets),
}
"""(who names, who is named): which rows keep which from being deleted."""

revisions = Table(
    "revisions",
    metadata,
    _team_id(),
    Column("number", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Column("actor", Text, nullable=False),
    Column("surface", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("message", Text, nullable=False),
    PrimaryKeyConstraint("team_id", "number"),
)

# `before` and `after` hold a whole row as JSON: {"spec", "position", "owner"}; of a definition, all of it.
changes = Table(
    "changes",
    metadata,
    Column("team_id", NUMBER, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", NAME, nullable=False),
    Column("before", Text),
    Column("after", Text),
    PrimaryKeyConstraint("team_id", "revision", "seq"),
    ForeignKeyConstraint(["team_id", "revision"], ["revisions.team_id", "revisions.number"], ondelete="CASCADE"),
)

api_definitions = Table(
    "api_definitions",
    metadata,
    _team_id(),
    Column("name", NAME, nullable=False),
    Column("document_hash", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("last_applied", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    PrimaryKeyConstraint("team_id", "name"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False, index=True),
    # A name and not a key: the trail outlives what it tells of.
    Column("team", NAME, nullable=False),
    Column("actor", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("surface", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "team", "id"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("name", NAME, nullable=False),
    _team_id(nullable=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
)

dataplanes = Table(
    "dataplanes",
    metadata,
    Column("id", NAME, primary_key=True),
    _team_id(nullable=True),
    Column("node_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("envoy_version", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Column("revision_acked", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Index(None, "team_id"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("dataplane_id", NAME, ForeignKey("dataplanes.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("pointer", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("last_good", LargeBinary),
    Column("last_good_version", Text, nullable=False),
    PrimaryKeyConstraint("dataplane_id", "type", "resource"),
)
