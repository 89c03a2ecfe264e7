"""The shapes of what goes in and out, for the OpenAPI document. Nothing is validated or written through them.

Requests are validated by the envelopes of `bodies` and the models of `headgate.controlplane.model`;
responses are written by `answers`. Tests hold what is really sent against these.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from headgate.controlplane.model.base import Name, Spec
from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.route_config import Route, RouteConfig
from headgate.controlplane.model.rows import RowKind
from headgate.controlplane.model.secret import Secret
from headgate.controlplane.native.describe import TITLES


class Shape(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ResourceShape(Shape):
    """A stored resource."""

    name: Name
    team: str
    revision: int
    """The team's revision that last changed it."""
    etag: str = Field(examples=['"12"'])
    """For If-Match and If-None-Match."""
    owner: str
    """What manages it: "" a person, `api/NAME` an imported API definition, `expose/NAME`."""
    created_at: datetime
    updated_at: datetime


class Certificate(Shape):
    """What is shown of a certificate."""

    subject: str
    subject_alt_names: list[str]
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str


class SecretSummary(Shape):
    """What is shown of a secret. Its content cannot be read back."""

    type: Literal["tls_certificate", "trusted_ca"]
    fingerprint: str
    """Tells two secrets apart: equal content has an equal fingerprint."""
    certificates: list[Certificate] = []
    """Of a `trusted_ca`."""
    subject: str = ""
    """Of a `tls_certificate`, as what follows."""
    subject_alt_names: list[str] = []
    not_before: datetime | None = None
    not_after: datetime | None = None
    serial: str = ""
    sha256: str = ""


class Change(Shape):
    """One of several changes that are made together or not at all."""

    operation: Literal["create", "replace", "put", "patch", "delete"]
    """`create` fails when it is there; `replace`, `patch` and `delete` fail when it is not; `put` does either."""
    kind: RowKind
    name: str
    """Of a route: `route_config/virtual_host/route`."""
    spec: dict[str, Any] | None = None
    """The specification; for `patch` a JSON merge patch of it; none for `delete`."""
    if_match: str | None = None
    """The ETag it must have, or `*`: it must exist."""
    before: str | None = None
    """Of a route: the route it is put in front of; "" puts it last."""


class Changes(Shape):
    """Several changes, in one revision."""

    changes: list[Change] = Field(min_length=1, max_length=10_000)
    message: str = Field(default="", max_length=500)
    dry_run: bool = False


class Difference(Shape):
    """What became of one resource."""

    kind: RowKind
    name: str
    what: Literal["created", "updated", "deleted", "unchanged"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    etag: str


class Outcome(Shape):
    """What was changed, or would be."""

    team: str
    revision: int
    """The team's revision after it."""
    dry_run: bool
    changed: bool
    diffs: list[Difference]


class Revision(Shape):
    """One atomic change of a team's configuration."""

    revision: int
    team: str
    at: datetime
    actor: str
    """The name of the token."""
    surface: str
    message: str
    request_id: str


class RowChange(Shape):
    """A row before and after. A route config's row holds its virtual hosts; each route is a row of its own."""

    kind: RowKind
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class RevisionWithChanges(Revision):
    """A revision and what it changed."""

    changes: list[RowChange]


class AuditEntry(Shape):
    """Who did what, when, and whether they were let."""

    id: int
    at: datetime
    actor: str
    surface: str
    action: str
    outcome: Literal["done", "refused"]
    team: str
    target: str
    revision: int
    token_id: str
    request_id: str
    detail: dict[str, Any]


class TypeState(Shape):
    """One xDS type at a dataplane."""

    wanted: str
    acknowledged: str
    in_sync: bool
    resources: int
    waiting: dict[str, list[str]]
    """Resources held back, and the clusters that must be acknowledged first."""


class RefusedResource(Shape):
    """A resource that a dataplane refused, and why."""

    type: str
    resource: str
    version: str
    message: str
    at: datetime
    kind: str
    name: str
    pointer: str
    last_good_version: str


class Dataplane(Shape):
    """An Envoy: what it is to have, has acknowledged, and has refused."""

    id: str
    team: str
    state: Literal["disconnected", "refused", "pending", "in_sync"]
    scope: str
    version: str
    mode: str
    replica: str
    connected: bool
    first_seen: datetime
    last_seen: datetime
    revision_wanted: int
    revision_acked: int
    types: dict[str, TypeState]
    refused: list[RefusedResource]


class NewToken(Shape):
    """A token to make."""

    name: str = Field(min_length=1, max_length=100)
    team: str | None = None
    """The only team it may act on; null: every team."""
    scopes: list[str] = Field(min_length=1)
    """`clusters:write`, `route-configs:read`, ..., `*:read`, `*:write`, `*`."""
    expires_at: datetime | None = None
    expires_in_s: int | None = Field(default=None, ge=1)
    """Instead of `expires_at`: seconds from now."""


class Token(Shape):
    """A token without its secret."""

    id: str
    name: str
    team: str | None
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class CreatedToken(Token):
    """A new token, with its secret: it cannot be had again."""

    token: str


class NewTeam(Shape):
    """A team to make."""

    name: Name


class Team(Shape):
    """A tenant."""

    name: str
    revision: int
    created_at: datetime


class WhoAmI(Shape):
    """Whose token this is."""

    token_id: str
    name: str
    team: str | None
    scopes: list[str]


class ProblemError(Shape):
    """One thing wrong with the input."""

    pointer: str
    """JSON pointer (RFC 6901) into the body."""
    message: str
    hint: str = ""


class Problem(Shape):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    """Stable; programs may match it."""
    request_id: str
    hint: str = ""
    """What to do next."""
    errors: list[ProblemError] = []


_SPECS: dict[RowKind, type[Spec]] = {
    "cluster": Cluster,
    "route_config": RouteConfig,
    "route": Route,
    "listener": Listener,
    "secret": Secret,
}


def _page(title: str, item: type[BaseModel]) -> type[BaseModel]:
    return create_model(
        f"{title}Page",
        __base__=Shape,
        __doc__="One page of a list.",
        items=(list[item], ...),  # type: ignore[valid-type]
        total=(int, Field(description="How many there are in all.")),
        next_cursor=(str, Field(description='For the next page; "" at the end.')),
    )


def _resource(kind: RowKind) -> type[BaseModel]:
    shown: type[BaseModel] = SecretSummary if kind == "secret" else _SPECS[kind]
    extra: dict[str, Any] = {"route_config": (str, ...), "virtual_host": (str, ...)} if kind == "route" else {}
    return create_model(
        f"{TITLES[kind]}Resource", __base__=ResourceShape, __doc__="A stored resource.", spec=(shown, ...), **extra
    )


def _new(kind: RowKind) -> type[BaseModel]:
    fields: dict[str, Any] = {"name": (Name, ...), "spec": (_SPECS[kind], ...)}
    return create_model(f"New{TITLES[kind]}", __base__=Shape, __doc__="A resource to create.", **fields)


def components() -> list[type[BaseModel]]:
    """Every shape the document refers to by name."""
    found: list[type[BaseModel]] = [
        Outcome,
        Changes,
        RevisionWithChanges,
        CreatedToken,
        NewToken,
        NewTeam,
        WhoAmI,
        Problem,
    ]
    found += [_page("Revision", Revision), _page("Audit", AuditEntry), _page("Dataplane", Dataplane)]
    found += [_page("Token", Token), _page("Team", Team)]
    for kind, title in TITLES.items():
        shown = _resource(kind)
        found += [_SPECS[kind], shown, _page(title, shown)]
        if kind != "route":
            found.append(_new(kind))
    return found
