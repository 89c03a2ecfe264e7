"""The Native API: Envoy's own notions (clusters, route configs, listeners, secrets) over HTTP and JSON.

Also tokens, teams and the documentation. `native_router` builds the operations out of the use cases;
`headgate.controlplane.app` serves them.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.caller import Authorise
from headgate.controlplane.core.dataplanes import Dataplanes
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.route_list import RouteList
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.model.kinds import PLURALS
from headgate.controlplane.native.audit import add_audit
from headgate.controlplane.native.changes import add_changes
from headgate.controlplane.native.dataplanes import add_dataplanes
from headgate.controlplane.native.resources import add_resources
from headgate.controlplane.native.revisions import add_revisions
from headgate.controlplane.native.routes import add_routes
from headgate.controlplane.native.schemas import add_schemas
from headgate.controlplane.native.teams import add_teams, add_whoami
from headgate.controlplane.native.tokens import add_tokens
from headgate.controlplane.web.queries import StrictRoute

API = "/api/v1"
NATIVE = f"{API}/native"

TAGS: list[dict[str, Any]] = [
    {"name": "Clusters", "description": "Groups of endpoints that answer the same requests."},
    {"name": "Route configs", "description": "Virtual hosts and their routes; a listener serves one."},
    {"name": "Routes", "description": "One route at a time."},
    {"name": "Listeners", "description": "Addresses Envoy serves, and what it does with a connection."},
    {"name": "Secrets", "description": "Certificates and keys: written, never read back."},
    {"name": "Changes", "description": "Several resources in one revision; history; restore."},
    {"name": "Dataplanes", "description": "What each Envoy has acknowledged and refused."},
    {"name": "Audit", "description": "Who did what."},
    {"name": "Access", "description": "Tokens and teams."},
    {"name": "Schemas", "description": "JSON Schema of what can be written."},
]


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the Native API stands on."""

    resources: Resources
    route_list: RouteList
    dataplanes: Dataplanes
    audit: AuditLog
    tokens: Tokens
    teams: Teams


def native_routers(cases: UseCases, authorise: Authorise) -> list[APIRouter]:
    """The operations, a router for each heading of the documentation."""
    routers: list[APIRouter] = []

    def heading(tag: str, prefix: str = NATIVE) -> APIRouter:
        routers.append(APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute))
        return routers[-1]

    for kind, plural in PLURALS.items():
        add_resources(heading(plural.replace("-", " ").capitalize()), kind, cases.resources, authorise)
    add_routes(heading("Routes"), cases.resources, cases.route_list, authorise)
    changes = heading("Changes")
    add_changes(changes, cases.resources, cases.audit, authorise)
    add_revisions(changes, cases.resources, authorise)
    add_dataplanes(heading("Dataplanes"), cases.dataplanes, authorise)
    add_audit(heading("Audit"), cases.audit, authorise)
    access = heading("Access", API)
    add_whoami(access, authorise)
    add_tokens(access, cases.tokens, authorise)
    add_teams(access, cases.teams, authorise)
    add_schemas(heading("Schemas"), authorise)
    return routers
