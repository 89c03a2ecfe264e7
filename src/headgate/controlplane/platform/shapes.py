"""The shapes of what goes in and out, for the documentation. Answers are not written through them; a test
holds what is really sent against them.
"""  # noqa: D205

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PublishedDiff(Shape):
    """What became of one resource."""

    kind: Literal["cluster", "route_config", "route", "listener", "secret"]
    name: str
    what: Literal["created", "updated", "deleted"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    etag: str


class PublishOutcome(Shape):
    """What a write did, or in a dry run would do."""

    team: str
    revision: int
    """The team's revision after it; unchanged when nothing changed."""
    dry_run: bool
    changed: bool
    diffs: list[PublishedDiff]
    """What is different, resource by resource."""


class GatewayPlace(Shape):
    """Where something is published."""

    listener: str
    route_config: str
    virtual_host: str


class GatewaySpot(GatewayPlace):
    """Where something is published, and under which URL and domains."""

    url: str = Field(examples=["http://127.0.0.1:10000"])
    domains: list[str]


class Note(Shape):
    """Something worth knowing."""

    code: str
    message: str
    pointer: str
    """Into the document that was sent; "" when it is about something else."""


class OperationCondition(Shape):
    """What a request must carry besides its method and path."""

    where: Literal["query", "header"]
    name: str
    value: str | None
    """None: be there, with whatever value."""


class OperationAccount(Shape):
    """What became of an operation of the document. `code`, `reason` and `hint` are there unless it is routed."""

    method: str
    path: str
    """As in the document."""
    pointer: str
    operation_id: str
    routed: bool
    route: str = ""
    gateway_path: str = ""
    """At the gateway, as a template."""
    upstream_path: str = ""
    conditions: list[OperationCondition] = []
    cluster: str = ""
    code: str = ""
    reason: str = ""
    hint: str = ""


class OperationTotals(Shape):
    """How many operations the document has, and what became of them."""

    operations: int
    routed: int
    not_routed: int


class ServerAccount(Shape):
    """What became of an entry of the document's `servers`."""

    pointer: str
    url: str
    status: Literal["used", "alternative", "replaced", "unusable"]
    cluster: str
    reason: str


class DocumentSummary(Shape):
    """What was imported."""

    title: str
    version: str
    openapi: str
    sha256: str


class ImportReport(PublishOutcome):
    """What an import did, or would do. Every operation of the document is accounted for."""

    name: str
    document: DocumentSummary
    gateway: GatewaySpot
    totals: OperationTotals
    operations: list[OperationAccount]
    servers: list[ServerAccount]
    notes: list[Note]


class ImportedApi(Shape):
    """An API that was imported."""

    name: str
    title: str
    version: str
    openapi: str
    operation_count: int
    routed: int
    not_routed: int
    sha256: str
    options: dict[str, str]
    """As they were given."""
    gateway: GatewayPlace
    revision: int
    """The team's revision that last changed it."""
    created_at: datetime
    updated_at: datetime


class ImportedApiPage(Shape):
    """Some of the imported APIs."""

    items: list[ImportedApi]
    total: int
    next_cursor: str


class WholeImportedApi(ImportedApi):
    """An API that was imported, with the rows it owns and the account of every operation."""

    clusters: list[str]
    routes: list[str]
    operations: list[OperationAccount]


class ExposeReport(PublishOutcome):
    """What exposing did, or would do."""

    name: str
    url: str
    """Where the service answers."""
    gateway: GatewaySpot
    notes: list[Note]


class ExposedService(Shape):
    """A service that is exposed."""

    name: str
    upstream: str
    path: str
    domain: str
    gateway: GatewayPlace
    revision: int
    created_at: datetime
    updated_at: datetime


class ExposedServicePage(Shape):
    """Some of the exposed services."""

    items: list[ExposedService]
    total: int
    next_cursor: str
